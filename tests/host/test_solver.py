"""The core's solvers as native SAMPLER, and its time schedules as native SIGMAS, beside the core and the host's own."""

import pytest
import torch
from graphs import SIZE, Graph, Node, guided, preset_parts, sampler_node
from reference import SEED, Core, distance, noise, run_saved
from test_page_graph import plan
from test_validation import refusal

from lumina_core import PRESETS
from lumina_core.sampling.solvers import SOLVERS, SolverRun

TOLERANCE = 1e-4
PRESET = "f16F64R512-MultiScale"
# Steps on both sides of every switch of the preset, whose motion scores change as well.
POINTS = 17
PLAN = PRESETS[PRESET].replace(points=POINTS, guidance="3 | 0.4: 0")
REMEMBERING = [name for name, solver in SOLVERS.items() if solver.memory]
TIMES = ("rational", "linear", "sigmoid", "sigmoid 0.5 4 8", "through 0.075 0.3 0.4", "0, 0.02, 0.1, 0.2, 0.5, 0.8, 1")


@pytest.fixture(scope="module")
def core(tiny_models) -> Core:
    return Core(tiny_models)


def latents(server, sampler=None, sigmas=None) -> torch.Tensor:
    """Of SamplerCustomAdvanced; `sampler` and `sigmas` add a node to a graph and its parts."""
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    guider = graph.ours(
        "Guider", model=parts.model[0], positive=parts.conditioning[0], negative=parts.conditioning[1],
        guidance=str(PLAN.guidance), renorm=PLAN.renorm,
    )  # fmt: skip
    out = graph.add(
        "SamplerCustomAdvanced", noise=graph.ours("Noise", seed=SEED)[0], guider=guider[0],
        sampler=(sampler or ours("euler"))(graph, parts)[0], sigmas=(sigmas or grid())(graph, parts)[0],
        latent_image=parts.latent[0],
    )  # fmt: skip
    return run_saved(server, graph, out[0])


def ours(solver: str):
    return lambda graph, parts: graph.ours("Solver", solver=solver)


def hosts(name: str):
    return lambda graph, parts: graph.add("KSamplerSelect", sampler_name=name)


def grid(**inputs):
    def node(graph, parts) -> Node:
        return graph.ours("Sigmas", points=POINTS, time_shift=PLAN.time_shift, **inputs)

    return node


def scheduler(name: str):
    def node(graph, parts) -> Node:
        return graph.add("BasicScheduler", model=parts.model[0], scheduler=name, steps=POINTS - 1, denoise=1.0)

    return node


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_equals_the_core(server, core, solver):
    found = latents(server, ours(solver))
    assert distance(found, core.sample(PLAN.replace(solver=solver), noise())) <= TOLERANCE


@pytest.mark.parametrize("solver", REMEMBERING)
def test_a_run_without_restarts_would_be_seen(core, solver, monkeypatch):
    whole = core.sample(PLAN.replace(solver=solver), noise())
    monkeypatch.setattr("lumina_core.sampling.video.SolverRun", lambda solver, segment: SolverRun(solver))
    assert distance(core.sample(PLAN.replace(solver=solver), noise()), whole) > 10 * TOLERANCE


@pytest.mark.parametrize("times", TIMES)
def test_every_time_schedule_equals_the_core(server, core, times):
    found = latents(server, ours("adams2"), grid(times=times))
    assert distance(found, core.sample(PLAN.replace(solver="adams2", times=times), noise())) <= TOLERANCE


def test_no_time_schedule_is_the_rational_one_as_before(server):
    results = [latents(server, hosts("euler"), grid(**more)) for more in ({}, {"times": ""}, {"times": "rational"})]
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("name", ["simple", "beta"])
def test_our_solvers_run_on_the_hosts_schedulers(server, name):
    """Ours and the host's of the same rule, on the host's sigmas; and one that the host does not have."""
    found = {solver: latents(server, ours(solver), scheduler(name)) for solver in ("euler", "heun2", "adams3")}
    assert distance(found["euler"], latents(server, hosts("euler"), scheduler(name))) <= TOLERANCE
    assert bool(found["adams3"].isfinite().all())
    assert distance(found["adams3"], found["euler"]) > 10 * TOLERANCE < distance(found["heun2"], found["euler"])


@pytest.mark.parametrize("name", ["dpmpp_2m", "res_multistep", "heun"])
def test_the_hosts_samplers_run_on_our_sigmas(server, name):
    found = {times: latents(server, hosts(name), grid(times=times)) for times in ("", "sigmoid", "linear")}
    assert all(bool(samples.isfinite().all()) for samples in found.values())
    assert not torch.equal(found[""], found["linear"]) and not torch.equal(found[""], found["sigmoid"])


@pytest.mark.parametrize("solver", ["adams2", "dpmpp_2m", "heun3"])
def test_sampler_custom_with_its_own_cfg(server, core, solver):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    out = graph.add(
        "SamplerCustom", model=parts.model[0], add_noise=True, noise_seed=SEED, cfg=4.0,
        positive=parts.conditioning[0], negative=parts.conditioning[1], sampler=ours(solver)(graph, parts)[0],
        sigmas=grid()(graph, parts)[0], latent_image=parts.latent[0],
    )  # fmt: skip
    plan = PLAN.replace(solver=solver, guidance=3.0, renorm=-1.0)
    assert distance(run_saved(server, graph, out[0]), core.sample(plan, noise())) <= TOLERANCE


@pytest.mark.parametrize("solver", ["adams2", "heun3"])
@pytest.mark.parametrize("times", ["through switches", "sigmoid", "0, 0.02, 0.075, 0.2, 0.3, 0.5, 0.8, 1"])
def test_times_of_the_all_in_one_node(server, core, solver, times):
    graph = Graph()
    given = {"preset": PRESET, "points": POINTS, "guidance": "3 | 0.4: 0", "solver": solver, "times": times}
    found = run_saved(server, graph, sampler_node(graph, **given)[0])
    assert distance(found, core.sample(PLAN.replace(solver=solver, times=times), noise())) <= TOLERANCE


def test_the_step_cache_goes_with_a_solver_that_remembers(server, core):
    """As in the core: foretold velocities are remembered like others, and both start anew at the same switches."""
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    cached = graph.ours("StepCache", model=parts.model[0], tolerance=0.3)
    parts = type(parts)(parts.preset, cached, parts.conditioning, parts.latent)
    out = graph.add(
        "SamplerCustomAdvanced", noise=graph.ours("Noise", seed=SEED)[0], guider=guided(graph, parts)[0],
        sampler=graph.ours("Solver", solver="adams2")[0], sigmas=graph.ours("Sigmas", points=70, time_shift=8.0)[0],
        latent_image=parts.latent[0],
    )  # fmt: skip
    found = run_saved(server, graph, out[0])
    plan = PRESETS[PRESET].replace(solver="adams2", cache=0.3)
    assert distance(found, core.sample(plan, noise())) <= 10 * TOLERANCE
    assert distance(core.sample(plan.replace(cache=0.0), noise()), found) > 10 * TOLERANCE, "nothing was foretold"


@pytest.mark.parametrize(
    "inputs, said",
    [
        ({"solver": "adams3", "points": 3}, "solver is 'adams3' and points is 3, too few for its order"),
        ({"times": "0, 0.5, 0.4, 1"}, "times lists 0.4 after 0.5; write times in rising order"),
        ({"times": "cosine"}, "times is 'cosine', which is not a time schedule"),
        ({"times": "through switches", "points": 3}, "and points is 3; write at least"),
    ],
)
def test_the_all_in_one_node_refuses_when_queued(server, inputs, said):
    graph = Graph()
    node = sampler_node(graph, **inputs)
    graph.save_latent(node[0])
    assert said in refusal(server, graph, node)


@pytest.mark.parametrize("times, said", [("0.5", "a single number"), ("through switches", "no schedules are known")])
def test_sigmas_refuse_when_queued(server, times, said):
    graph = Graph()
    node = graph.ours("Sigmas", points=5, time_shift=1.0, times=times)
    graph.add("PreviewAny", source=node[0])
    assert said in refusal(server, graph, node)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_cost_strip_counts_the_evaluations_of_the_linked_solver(server, solver):
    nodes = ("LuminaVideoSolver", {"solver": solver}), ("LuminaVideoSigmas", {"points": 11, "time_shift": 8.0})
    outline = plan(server, *nodes)["outline"]
    assert outline["nfe"] == 10 * SOLVERS[solver].evaluations
    assert outline["nfe"] == sum(segment["evaluations"] for segment in outline["segments"])


def test_the_cost_strip_knows_the_time_schedule(server):
    sigmas = {"points": 70, "time_shift": 8.0, "times": "0, 0.1, 0.4, 1"}
    assert plan(server, ("LuminaVideoSigmas", sigmas))["outline"]["grid"] == pytest.approx([0, 0.1, 0.4, 1])
    sampler = {**SIZE, "preset": PRESET, "points": 9, "solver": "adams3", "times": "through switches"}
    found = plan(server, ("LuminaVideoMultiScaleSampler", sampler))["outline"]["grid"]
    expected = PRESETS[PRESET].replace(points=9, times="through switches").grid().tolist()
    assert found == pytest.approx(expected) and len(found) == 9
    assert "is not a time schedule" in plan(server, ("LuminaVideoSigmas", {"times": "cosine"}))["error"]
    long = ", ".join(str(i / 1500) for i in range(1501))
    assert (
        "times lists 1501 points; write at most 1000" in plan(server, ("LuminaVideoSigmas", {"times": long}))["error"]
    )
