"""Clips beyond the trained size in the host: what the core makes of them, what is warned of, what is refused."""

from dataclasses import replace

import pytest
from graphs import Graph, sampler_node
from reference import SEED, Core, distance, noise, run_saved
from server import HostError

from lumina_core.sampling.presets import PRESETS
from lumina_core.shapes.latents import LatentSize

SHORT = {"preset": "f16F64R512", "points": 5, "seed": SEED}
PLAN = PRESETS["f16F64R512"].replace(points=5)
TRAINED = {"train_width": 32, "train_height": 32, "train_frames": 8}
"""Half of graphs.SIZE, each way."""
BOUND = 2e-4


@pytest.fixture(scope="module")
def core(tiny_models) -> Core:
    return Core(tiny_models)


def extrapolation(graph: Graph, method: str, proportional: bool = False, **size: int):
    return graph.ours("Extrapolation", model=graph.model()[0], method=method, proportional=proportional, **size)


@pytest.fixture
def expected(core, monkeypatch):
    """expected(**changes): latents of the core, whose checkpoint says the size that the node is given."""
    config = replace(core.network.config, train_size=LatentSize(2, 4, 4))

    def latents(**changes):
        with monkeypatch.context() as patched:
            patched.setattr(core.network, "config", config)
            return core.sample(PLAN.replace(**changes), noise())

    return latents


@pytest.mark.parametrize("method, proportional", [("time", True), ("time-step", False), ("frequency", False)])
def test_the_node_does_what_the_core_does(server, core, expected, method, proportional):
    graph = Graph()
    model = extrapolation(graph, method, proportional, **TRAINED)
    found = run_saved(server, graph, sampler_node(graph, model=model[0], **SHORT)[0])
    plain = core.sample(PLAN, noise())
    assert distance(plain, found) > 10 * BOUND, "the method changes the clip"
    assert distance(found, expected(rope=method, proportional=proportional)) <= BOUND


def test_the_sampler_chooses_too_and_leaves_the_node_its_size(server, expected):
    graph = Graph()
    model = extrapolation(graph, "off", **TRAINED)
    found = run_saved(server, graph, sampler_node(graph, model=model[0], rope="interpolate", **SHORT)[0])
    assert distance(found, expected(rope="interpolate")) <= BOUND


def test_at_the_trained_size_the_node_changes_nothing(server, core):
    graph = Graph()
    model = extrapolation(graph, "interpolate", train_width=64, train_height=64, train_frames=16)
    found = run_saved(server, graph, sampler_node(graph, model=model[0], **SHORT)[0])
    assert distance(found, core.sample(PLAN, noise())) <= BOUND


def test_off_beyond_the_trained_size_runs_with_one_warning(server):
    graph = Graph()
    model = extrapolation(graph, "off", **TRAINED)
    before = len(server.log)
    server.prompt(sampler_of(graph, model).api)
    said = "The clip is 64x64 with 16 frames, more than this checkpoint was trained on (32x32 with 8 frames)"
    assert server.log[before:].count(said) == 1


def sampler_of(graph: Graph, model) -> Graph:
    graph.save_latent(sampler_node(graph, model=model[0], **SHORT)[0])
    return graph


def test_auto_without_a_known_size_says_that_it_does_nothing(server):
    graph = Graph()
    node = extrapolation(graph, "auto")
    result = server.prompt(sampler_of(graph, node).api)
    assert "does not store its training size, so RoPE scaling is off" in result.outputs(node.id)["text"][0]


@pytest.mark.parametrize("method, size, said", [
    ("time", {}, "does not say what size it was trained on, which rope time needs"),
    ("time", {"train_width": 64}, "The training size is 64x0 with 0 frames.*enter all three"),
    ("time", {"train_width": 48, "train_height": 48, "train_frames": 6}, "frames is 6; use 1 for an image"),
])  # fmt: skip
def test_what_is_missing_is_told(server, method, size, said):
    graph = Graph()
    with pytest.raises(HostError, match=said):
        server.prompt(sampler_of(graph, extrapolation(graph, method, **size)).api)
