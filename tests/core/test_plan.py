"""Plans as values, and their predictions against counted calls of real runs."""

import dataclasses
import itertools
import json

import golden
import pytest
import torch
from fake_network import FakeNetwork
from refusals import refused

from lumina_core import PRESETS, LuminaError, PatchSize, Piecewise, SamplingPlan, ScheduleError, parse_number, sample
from lumina_core.sampling.denoiser import NO_MOTION
from lumina_core.sampling.solvers import SOLVERS

RELEASED = [name for name in PRESETS if not name.startswith("mini")]
MULTI = PRESETS["f24F96R960-MultiScale"]


class Counting(FakeNetwork):
    """A stand-in network that writes its calls down."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, text, text_mask, motion, patch):
        self.calls.append((t[0].item(), patch, len(x), motion.tolist()))
        return torch.linspace(-1, 1, x[0].numel()).view_as(x[0]).expand_as(x) * (1 + t.view(-1, 1, 1, 1, 1))


def run(plan, dtype=torch.float32):
    network, text = Counting(), (torch.ones(1, 2, 3), None)
    sample(network, torch.zeros(1, 16, 2, 4, 4, dtype=dtype), plan, text, text)
    return network.calls


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
def test_predicted_evaluations_are_the_ones_made(name, dtype, solver):
    plan = PRESETS[name].replace(solver=solver)
    predicted = list(plan.evaluations(dtype))
    calls = run(plan, dtype)
    # As the network is given them.
    asked = [[e.motion, e.negative_motion][: e.passes] for e in predicted]
    scores = [torch.tensor([NO_MOTION if s is None else s for s in pair], dtype=dtype).tolist() for pair in asked]
    assert [(e.t, e.patch, e.passes) for e in predicted] == [call[:3] for call in calls]
    assert scores == [call[3] for call in calls]
    stages = {"midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}.get(solver, 1)
    assert [e.step for e in predicted] == [step for step in range(plan.steps) for _ in range(stages)]


@pytest.mark.parametrize("name, guided", [("f24F96R960", 60), ("f16F64R512", 59)])
def test_released_counts(name, guided):
    """69 calls, and as many with a negative pass, for the single-scale and the multi-scale preset."""
    for preset in (name, f"{name}-MultiScale"):
        evaluations = list(PRESETS[preset].evaluations())
        assert len(evaluations) == PRESETS[preset].steps == 69
        assert sum(e.guided for e in evaluations) == guided
        assert sum(e.passes for e in evaluations) == 69 + guided


@pytest.mark.parametrize("name", RELEASED)
def test_bf16_times_pick_the_same_patch_guidance_and_motion(name):
    """Rounding t to bf16 moves no switch of a released preset to another step."""
    exact, rounded = (list(PRESETS[name].evaluations(d)) for d in (torch.float32, torch.bfloat16))
    assert [dataclasses.replace(e, t=0.0) for e in exact] == [dataclasses.replace(e, t=0.0) for e in rounded]
    assert [e.t for e in exact] != [e.t for e in rounded]


@pytest.mark.parametrize(
    "name, steps",
    [("f24F96R960-MultiScale", (30, 54)), ("f24F96R960", ()), ("f16F64R512-MultiScale", (28, 54))],
)
def test_switch_steps(name, steps):
    assert golden.switch_steps(PRESETS[name]) == steps


def test_patches_in_order_of_use():
    plan = SamplingPlan(patch="2x4 | 0.1: 1x2 | 0.2: 2x4 | 0.3: 2x2")
    assert plan.patches == (PatchSize(2, 4), PatchSize(1, 2), PatchSize(2, 2))


def test_plain_values_become_schedules():
    plan = SamplingPlan(patch=PatchSize(1, 2), guidance=20, motion="6", negative_motion=None, time_shift=None, renorm=2)
    assert plan.patch == Piecewise.constant(PatchSize(1, 2))
    assert plan.guidance == Piecewise.constant(20.0) and isinstance(plan.guidance.at(0), float)
    assert plan.motion == parse_number("6")
    assert plan.negative_motion == Piecewise.constant(None)
    assert (plan.time_shift, plan.renorm) == (1.0, 2.0)
    assert plan.grid().tolist() == torch.linspace(0, 1, 70).tolist()


def test_no_guidance_value_means_no_negative_pass():
    for guidance in (None, "none", 0, -3.0):
        evaluation = SamplingPlan(patch="1x2", guidance=guidance).at(0.5)
        assert (evaluation.guided, evaluation.passes) == (False, 1)


def test_a_list_of_times_is_the_grid_and_says_the_points():
    plan = MULTI.replace(times="0, 0.1, 0.4, 1", points=70)
    assert plan.grid().tolist() == pytest.approx([0, 0.1, 0.4, 1]) and (plan.points, plan.steps) == (4, 3)
    assert [e.t for e in plan.evaluations()] == pytest.approx([0, 0.1, 0.4])
    assert plan.replace(solver="rk4").steps == 3


def test_only_the_rational_schedule_reads_the_time_shift():
    rational = MULTI.grid().tolist()
    assert MULTI.replace(times="rational").grid().tolist() == rational
    assert MULTI.replace(time_shift=2).grid().tolist() != rational
    for times in ("linear", "sigmoid"):
        grid = MULTI.replace(times=times).grid().tolist()
        assert grid == MULTI.replace(times=times, time_shift=2).grid().tolist() != rational


def test_a_grid_through_the_switches_begins_a_step_at_each():
    """Only at those that are seen: not where a value stays, nor of a negative score that is not asked for."""
    plan = MULTI.replace(points=13, guidance="6 | 0.3: 6 | 0.5: 0", negative_motion="2 | 0.05: 6 | 0.7: 3")
    assert plan.switch_times() == (0.03, 0.05, 0.125, 0.5)
    found = plan.replace(times="through switches")
    starts = [e for e in found.evaluations()]
    changes = [e.t for before, e in itertools.pairwise(starts) if before.segment != e.segment]
    assert changes == pytest.approx(plan.switch_times(), abs=1e-6)
    assert len(found.grid()) == 13 and not torch.equal(found.grid(), plan.grid())
    with refused("points", "value", "4", "5", "6"):
        found.replace(points=5)


def test_a_plan_survives_json():
    listed = MULTI.replace(times="0, 0.5, 1", solver="adams2", cache=0.2)
    for plan in [*PRESETS.values(), listed, SamplingPlan(patch="1x2", motion=-0.0, renorm=0, time_shift=None)]:
        assert SamplingPlan(**json.loads(json.dumps(plan.as_dict()))) == plan


def test_plans_are_values():
    same = SamplingPlan(**{f.name: getattr(MULTI, f.name) for f in dataclasses.fields(MULTI)})
    assert same == MULTI and hash(same) == hash(MULTI) and len({same, MULTI}) == 1
    assert MULTI.replace(points=12) != MULTI and MULTI.points == 70
    with pytest.raises(dataclasses.FrozenInstanceError):
        MULTI.points = 3


@pytest.mark.parametrize(
    "changes, field, facts",
    [
        ({"points": 1}, "points", ["points is 1"]),
        ({"points": 70.0}, "points", ["points is 70.0"]),
        ({"points": True}, "points", ["points is True"]),
        ({"points": "70"}, "points", ["points is '70'"]),
        ({"time_shift": -8}, "time_shift", ["time_shift is -8.0"]),
        ({"time_shift": 0}, "time_shift", ["time_shift is 0.0"]),
        ({"time_shift": "a"}, "time_shift", ["time_shift is 'a'"]),
        ({"time_shift": float("nan")}, "time_shift", ["time_shift is nan"]),
        ({"renorm": float("inf")}, "renorm", ["renorm is inf"]),
        ({"renorm": None}, "renorm", ["renorm is None"]),
        ({"cache": -0.1}, "cache", ["cache is -0.1"]),
        ({"cache": 1.5}, "cache", ["cache is 1.5"]),
        ({"cache": float("nan")}, "cache", ["cache is nan"]),
        ({"cache": "a"}, "cache", ["cache is 'a'"]),
        ({"cache": 0.1, "solver": "rk4"}, "cache", ["cache is 0.1 and solver is 'rk4'"]),
        ({"solver": "heun"}, "solver", ["solver is 'heun'"]),
        ({"solver": "adams3", "points": 3}, "points", ["solver is 'adams3'", "points is 3"]),
        ({"solver": "adams2", "points": 2}, "points", ["solver is 'adams2'", "points is 2"]),
        ({"solver": "dpmpp_2m", "times": "0, 1"}, "points", ["solver is 'dpmpp_2m'", "points is 2"]),
        ({"times": "cosine"}, "times", ["times is 'cosine'"]),
        ({"times": "0, 0.5, 0.4, 1"}, "times", ["0.4 after 0.5"]),
        ({"times": 0.5}, "times", ["times is 0.5"]),
        ({"patch": "2x4 | 2x2"}, "patch", ["patch schedule '2x4 | 2x2'", "Segment 2"]),
        ({"patch": 4}, "patch", ["patch schedule '4'"]),
        ({"guidance": "20 | 2: 0"}, "guidance", ["guidance schedule '20 | 2: 0'", "Segment 2"]),
        ({"motion": "fast"}, "motion", ["motion schedule 'fast'", "Segment 1"]),
        ({"motion": float("nan")}, "motion", ["motion is nan"]),
        ({"negative_motion": [1]}, "negative_motion", ["negative_motion is [1]"]),
    ],
)
def test_bad_field_is_named(changes, field, facts):
    with refused(field, "value", *facts, error=ScheduleError if "schedule" in facts[0] else LuminaError):
        MULTI.replace(**changes)


def test_a_patch_schedule_of_numbers_is_refused():
    with refused("patch", "value", "'6'", error=ScheduleError):
        SamplingPlan(patch="6")
