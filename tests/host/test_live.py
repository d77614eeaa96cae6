"""What a user sees and can do while the all-in-one node runs: progress, previews, interrupt."""

import io

import pytest
import torch
from graphs import SIZE, Graph, sampler_node
from PIL import Image
from reference import saved_latents

from lumina_core import PRESETS
from lumina_core.sampling.solvers import SOLVERS
from lumina_core.vae.latent_preview import latents_to_rgb

# Large enough that a step outlasts the way of a message to the test and back by far.
LARGE = {"width": 256, "height": 256, "frames": 32}


def _progress(messages: list[dict], node: str) -> list[tuple[int, int]]:
    """(value, max) of every progress message of a node."""
    told = [message["data"] for message in messages if message["type"] == "progress"]
    return [(data["value"], data["max"]) for data in told if data["node"] == node]


@pytest.mark.parametrize("solver", SOLVERS)
def test_progress_and_previews_come_once_per_step(server, solver):
    graph, steps = Graph(), 8
    node = sampler_node(graph, points=steps + 1, solver=solver)
    graph.save_latent(node[0])
    result = server.prompt(graph.api)
    assert [pair for pair in _progress(result.messages, node.id) if pair[0]] == [(i + 1, steps) for i in range(steps)]
    assert len(result.previews) == steps
    pictures = [Image.open(io.BytesIO(data)) for data in result.previews]
    # The host blows small pictures up.
    assert {(picture.format, picture.width / picture.height) for picture in pictures} == {("JPEG", 1.0)}
    assert pictures[0].tobytes() != pictures[-1].tobytes(), "the preview never changes"


def test_last_preview_shows_the_first_frame_of_the_result(server):
    graph = Graph()
    save = graph.save_latent(sampler_node(graph, points=5)[0])
    result = server.prompt(graph.api)
    expected = latents_to_rgb(saved_latents(result, save.id))[0, 0].flatten()
    small = Image.open(io.BytesIO(result.previews[-1])).resize((SIZE["width"] // 8, SIZE["height"] // 8), Image.BOX)
    shown = torch.tensor(list(small.tobytes())) / 255
    assert float(torch.corrcoef(torch.stack([shown, expected]))[0, 1]) > 0.9
    assert abs(float(shown.mean() - expected.mean())) < 0.02


def test_points_of_the_preset_are_its_steps(server):
    graph = Graph()
    node = sampler_node(graph, preset="f16F64R512")
    graph.save_latent(node[0])
    told = _progress(server.prompt(graph.api).messages, node.id)
    steps = PRESETS["f16F64R512"].steps
    assert told[-1] == (steps, steps)


@pytest.mark.parametrize("solver", ["euler", "rk4"])
def test_interrupt_ends_the_run_within_one_step(server, solver):
    graph, at = Graph(), 2
    node = sampler_node(graph, **LARGE, patch="1x2", guidance="5", points=40, solver=solver)
    graph.save_latent(node[0])
    asked = []

    def interrupt(message, result):
        told = _progress(result.messages, node.id)
        if not asked and told and told[-1][0] == at:
            asked.append(told[-1][0])
            server.interrupt()

    result = server.prompt(graph.api, on_message=interrupt)
    assert asked == [at] and result.interrupted
    # One step may end while the request is on its way.
    assert _progress(result.messages, node.id)[-1][0] <= at + 1
    assert not any(message["type"] == "executed" for message in result.messages)
    assert result.outputs(node.id) == {}

    # The server is as good as new.
    again = Graph()
    save = again.save_latent(sampler_node(again, points=3)[0])
    assert len(server.prompt(again.api).files(save.id)) == 1
