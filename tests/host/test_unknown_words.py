"""With the bundled model, the nodes name the words of a prompt that it does not know, and list those that it does."""

from __future__ import annotations

import pytest
from graphs import Graph, Node
from server import HostServer
from test_bundle import MINI, all_in_one

RING = "A red ring moves to the right on a black background."
STAR = "A red star moves to the right on a black background."


def encoded(graph: Graph, text: str, folder: str = MINI) -> Node:
    """A Text Encode whose result is used, so that it runs."""
    encode = graph.ours("TextEncode", clip=graph.clip(folder)[0], text=text)
    scored = graph.ours("MotionScore", positive=encode[0], negative=encode[0], motion="1", negative_motion="1")
    guider = graph.ours(
        "Guider", model=graph.model(MINI)[0], positive=scored[0], negative=scored[0], guidance="0", renorm=0.0
    )
    latent = graph.ours("EmptyLatent", width=64, height=64, frames=8, batch_size=1, patch="1x2")
    times, noise = graph.ours("Sigmas", points=2, time_shift=1.0), graph.ours("Noise", seed=1)
    sampler = graph.add("KSamplerSelect", sampler_name="euler")
    out = graph.add(
        "SamplerCustomAdvanced", noise=noise[0], guider=guider[0], sampler=sampler[0], sigmas=times[0],
        latent_image=latent[0],
    )  # fmt: skip
    graph.save_latent(out[0])
    return encode


@pytest.mark.parametrize("kind", ["text encode", "all in one"])
def test_unknown_words_are_named_on_the_node_and_in_the_log(server: HostServer, kind: str):
    graph, before = Graph(), len(server.log)
    if kind == "text encode":
        node = encoded(graph, RING)
    else:
        node = all_in_one(graph, prompt=RING, negative_prompt="a blurry clip", frames=8, points=2)
        graph.save_latent(node[0])
    (said,) = server.prompt(graph.api).outputs(node.id)["text"]
    assert "'ring' of the prompt" in said and "pyramid" in said and "purple" in said
    assert ("'blurry', 'clip' of the negative prompt" in said) == (kind == "all in one")
    assert said in server.log[before:]


@pytest.mark.parametrize("kind", ["text encode", "all in one"])
def test_known_words_need_no_text(server: HostServer, kind: str):
    graph = Graph()
    if kind == "text encode":
        node = encoded(graph, STAR)
    else:
        node = all_in_one(graph, prompt=STAR, frames=8, points=2)
        graph.save_latent(node[0])
    assert "text" not in server.prompt(graph.api).outputs(node.id)
