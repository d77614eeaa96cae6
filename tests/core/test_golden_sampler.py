"""Whole runs against the official sampler."""

import golden
import pytest

from lumina_core import sample

TOLERANCE = 1e-3


@pytest.mark.parametrize("name, run", golden.cases("sampler", "runs", "name"))
def test_run_equals_the_official_one(name, run):
    stored = golden.tensors(f"{name}/sampler")
    plan = golden.plan_of(run)
    assert (plan.grid() - stored[run["t_grid"]]).abs().max() <= 1e-6
    network = golden.Recorder(golden.model(name))
    states = [stored[run["inputs"]["z"]]]
    final = sample(
        network, states[0], plan, *golden.texts_of(run, stored), on_step=lambda info: states.append(info.latents)
    )

    assert [_without_t(call) for call in network.calls] == [_without_t(call) for call in run["evals"]]
    assert [call["t"] for call in network.calls] == pytest.approx([call["t"] for call in run["evals"]], abs=1e-6)
    assert len(network.calls) == run["n_evals"] == len(list(plan.evaluations()))
    assert golden.error(final, stored[run["final"]]) <= TOLERANCE
    if run.get("traj"):
        trajectory = stored[f"{run['name']}/traj"]
        assert len(states) == len(trajectory) == plan.points
        for state, expected in zip(states, trajectory, strict=True):
            assert golden.error(state[0], expected) <= TOLERANCE


def test_every_solver_and_preset_shape_is_among_the_runs():
    runs = golden.read_json("cfg1/sampler")["runs"]
    assert {run["method"] for run in runs} == {"euler", "midpoint", "heun2", "rk4"}
    assert {run["ts"] for run in runs} == {None, 8.0, 24.0}


def _without_t(call):
    return {key: value for key, value in call.items() if key != "t"}
