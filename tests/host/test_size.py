"""Lumina-Video Size in a real host: official sizes by ratio, linked into the nodes that take one, told to the page."""

from __future__ import annotations

import pytest
from graphs import Graph, Node, sampler_node
from reference import saved_latents
from server import HostServer
from test_page_graph import plan
from test_validation import refusal

from lumina_core.shapes.resolutions import area_sizes

WIDGETS = {"area": "960-class", "ratio": "16:9", "orientation": "landscape", "seconds": 4.0}
CASES = {
    "as the official README": ({}, "1248x704, 96 frames, one of 91 sizes"),
    "upright, of the second model": ({"area": "512-class", "orientation": "portrait"}, "384x672, 64 frames, one of 49"),
    "an image": ({"seconds": 0.0, "ratio": "1:1"}, "960x960, an image, one of 91"),
    "half a second": ({"area": "256-class", "ratio": "4:1", "seconds": 0.5}, "512x128, 8 frames, one of 25"),
    "a ratio as it is written": ({"own_ratio": "9：16", "orientation": "portrait"}, "704x1248, 96 frames"),
    "a size of the list": ({"own_ratio": "1920x480"}, "1920x480, 96 frames"),
    "a larger area": ({"area": "mini", "own_side": 128, "ratio": "1:1"}, "128x128, 32 frames, one of 13 sizes"),
}
FAULTS = {
    "no ratio": ({"own_ratio": "wide"}, "own_ratio is 'wide'; write width:height, such as 16:9"),
    "too wide": ({"own_ratio": "5:1"}, "own_ratio is '5:1', beyond 4:1"),
    "another area's size": ({"own_ratio": "1280x720"}, "none of the 91 sizes of the area 960x960; use the nearest one"),
    "too small an area": ({"own_side": 16}, "own_side is 16, expected 32 pixels or more"),
}  # fmt: skip


def size(graph: Graph, **widgets) -> Node:
    return graph.ours("Size", **{**WIDGETS, **widgets})


def test_sizes_are_picked_and_told(server):
    graph = Graph()
    nodes = {name: size(graph, **widgets) for name, (widgets, _) in CASES.items()}
    for node in nodes.values():
        graph.add("PreviewAny", source=node[4])
    result = server.prompt(graph.api)
    for name, (_, told) in CASES.items():
        (text,) = result.outputs(nodes[name].id)["text"]
        assert text.startswith(told), name


def test_outputs_hold_what_is_told(server):
    graph = Graph()
    node = size(graph, ratio="21:9")
    shown = [graph.add("PreviewAny", source=node[slot]) for slot in range(5)]
    result = server.prompt(graph.api)
    texts = [result.outputs(each.id)["text"][0] for each in shown]
    assert texts[:4] == ["1440", "608", "96", "24.0"]
    assert texts[4].split() == [f"{width}x{height}" for width, height in area_sizes(960)]


@pytest.mark.parametrize("seconds, frames", [(2.0, 16), (0.0, 1)])
def test_it_links_into_the_nodes_that_take_a_size(server: HostServer, seconds: float, frames: int):
    graph = Graph()
    node = size(graph, area="mini", ratio="3:1", orientation="portrait", seconds=seconds)
    wired = {"width": node[0], "height": node[1], "frames": node[2]}
    empty = graph.ours("EmptyLatent", **wired, batch_size=1, patch="2x4 | 0.5: 1x2")
    sampled = sampler_node(graph, **wired, points=3)
    saved = [graph.save_latent(empty[0]), graph.save_latent(sampled[0])]
    result = server.prompt(graph.api)
    for save in saved:
        found = saved_latents(result, save.id)
        assert found.shape == (1, 16, max(1, frames // 4), 12, 4)
        assert found.isfinite().all()


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_refused_when_queued(server, name):
    widgets, told = FAULTS[name]
    graph = Graph()
    node = size(graph, **widgets)
    graph.add("PreviewAny", source=node[4])
    assert told in refusal(server, graph, node)


def tokens(server, *nodes) -> list[int]:
    return [segment["tokens"] for segment in plan(server, *nodes, patch="1x2")["outline"]["segments"]]


def test_the_page_counts_with_a_linked_size(server):
    sampler = ("LuminaVideoMultiScaleSampler", {"preset": "f24F96R960"})
    linked = tokens(server, sampler, ("LuminaVideoSize", {**WIDGETS, "ratio": "1:1", "own_ratio": "", "own_side": 0}))
    assert set(linked) == {24 * 60 * 60}
    own = ("LuminaVideoEmptyLatent", {"width": 512, "height": 512, "frames": 16})
    assert set(tokens(server, own, ("LuminaVideoSize", WIDGETS))) == {4 * 32 * 32}, "what stands nearer counts"
    unknown = {name: value for name, value in WIDGETS.items() if name != "area"}
    assert set(tokens(server, sampler, ("LuminaVideoSize", unknown))) == {24 * 44 * 78}, "a linked area is not known"
    assert set(tokens(server, sampler, ("LuminaVideoSize", {**WIDGETS, "own_ratio": "wide"}))) == {24 * 44 * 78}


@pytest.mark.parametrize("width, height, frames", [(80, 48, 16), (48, 112, 8), (80, 48, 1)])
def test_the_bundled_model_at_odd_sizes(server, width, height, frames):
    """From the prompt to pixels, in two steps, at multiples of 16, which the finest patch size takes."""
    graph, mini = Graph(), "mini (bundled)"
    sampled = sampler_node(
        graph, model=graph.model(mini)[0], clip=graph.clip(mini)[0], prompt="一个红色的圆形向右移动",
        negative_prompt="", preset="mini", width=width, height=height, frames=frames, points=3,
    )  # fmt: skip
    pixels = graph.add("VAEDecode", samples=sampled[0], vae=graph.ours("VAELoader", vae_name=mini)[0])
    count = graph.add("GetImageSize", image=pixels[0])
    shown = [graph.add("PreviewAny", source=count[slot]) for slot in range(3)]
    graph.add("SaveImage", images=pixels[0], filename_prefix="odd")
    result = server.prompt(graph.api)
    assert [result.outputs(each.id)["text"][0] for each in shown] == [str(width), str(height), str(frames)]
