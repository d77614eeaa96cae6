"""Context Drop in the host: the core's latents, the page's costs, and what is remembered of such runs."""

from __future__ import annotations

import json
import urllib.request

import pytest
from graphs import MODEL, SIZE, Graph, sampler_node
from reference import SEED, Core, distance, noise, run_saved
from server import HostError, HostServer

from lumina_core.sampling.presets import PRESETS

SHORT = {"preset": "f16F64R512", "points": 5, "seed": SEED}
PLAN = PRESETS["f16F64R512"].replace(points=5)
BOUND = 2e-4


@pytest.fixture(scope="module")
def core(tiny_models) -> Core:
    return Core(tiny_models)


def dropping(graph: Graph, until: float) -> list:
    return graph.ours("ContextDrop", model=graph.model()[0], until=until)[0]


def ask(server: HostServer, path: str, body: object) -> dict:
    request = urllib.request.Request(f"{server.url}/lumina-video/{path}", data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_the_node_does_what_the_core_does(server, core):
    graph = Graph()
    found = run_saved(server, graph, sampler_node(graph, model=dropping(graph, 1.0), **SHORT)[0])
    assert distance(core.sample(PLAN, noise()), found) > 10 * BOUND, "it changes the clip"
    assert distance(found, core.sample(PLAN.replace(context_drop=1.0), noise())) <= BOUND


def test_the_field_of_the_sampler_does_the_same_and_wins(server, core):
    graph = Graph()
    found = run_saved(server, graph, sampler_node(graph, model=dropping(graph, 1.0), context_drop=0.1, **SHORT)[0])
    assert distance(found, core.sample(PLAN.replace(context_drop=0.1), noise())) <= BOUND


def test_until_0_is_off(server, core):
    graph = Graph()
    found = run_saved(server, graph, sampler_node(graph, model=dropping(graph, 0.0), **SHORT)[0])
    assert distance(found, core.sample(PLAN, noise())) <= BOUND


def test_another_kind_of_model_is_refused(server):
    graph = Graph()
    sound = graph.audio_model()
    drop = graph.ours("ContextDrop", model=sound[0], until=0.3)
    graph.save_latent(sampler_node(graph, model=drop[0], **SHORT)[0])
    with pytest.raises(HostError, match="Load Lumina-Video Model.*Lumina-Video Context Drop"):
        server.prompt(graph.api)


def test_only_evaluations_without_it_are_remembered(server):
    ask(server, "timings", {"remember": True, "erase": True})
    graph = Graph()
    graph.save_latent(sampler_node(graph, context_drop=0.1, **SHORT)[0])
    server.prompt(graph.api)
    kept = json.loads((server.base / "user" / "__lumina_video" / "timings.json").read_text(encoding="utf-8"))["runs"]
    # The first of 4 steps drops 2 layers, the second 1, the others none: t is 0, 0.04, 0.11 and 0.27.
    assert [sum(shape["evaluations"] for shape in run["shapes"]) for run in kept] == [2]
    fields = {"preset": SHORT["preset"], "model_name": MODEL, "points": 5, **SIZE}
    plain, some = (ask(server, "plan", {"fields": {**fields, "context_drop": t}})["estimate"] for t in (0, 1))
    assert plain["exact"] and not some["exact"]
    assert 0 < some["seconds"] < plain["seconds"]


def test_the_page_counts_it(server):
    def flops(*nodes: tuple[str, dict]) -> float:
        request = {"fields": {"model_name": MODEL}, "nodes": [{"kind": kind, "inputs": told} for kind, told in nodes]}
        answer = ask(server, "plan", request)
        assert answer["error"] is None
        return answer["outline"]["flops"]

    sampler = {"preset": SHORT["preset"], "points": 5, **SIZE}
    plain = flops(("LuminaVideoMultiScaleSampler", {**sampler, "context_drop": 0.0}))
    own = flops(("LuminaVideoMultiScaleSampler", {**sampler, "context_drop": 1.0}))
    node = ("LuminaVideoContextDrop", {"until": 1.0})
    assert own < plain
    assert flops(("LuminaVideoMultiScaleSampler", {**sampler, "context_drop": 0.0}), node) == own
    assert flops(("LuminaVideoMultiScaleSampler", {**sampler, "context_drop": 0.1}), node) > own


def test_a_number_out_of_range_is_told(server):
    answer = ask(server, "plan", {"fields": {"context_drop": 1.5}})
    assert answer["error"] == "context_drop is 1.5; write a number from 0 (off) to 1."
