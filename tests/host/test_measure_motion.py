"""Measure Motion in the host: the core's score for IMAGE and VIDEO, and bad links refused."""

import pytest
from graphs import Graph, Node
from test_failures import failure
from test_validation import refusal

from lumina_core.media.motion_score import file_motion_score
from lumina_core.media.writer import write_video
from lumina_core.mini.draw import draw
from lumina_core.mini.world import Scene


@pytest.fixture(scope="module")
def clips(server, tmp_path_factory):
    """Names in the input folder: a moving clip, one too short, and one that is no video; and their paths."""
    folder = tmp_path_factory.mktemp("clips")
    frames = draw(Scene("white", "circle", "navy", "right", 0.8, 12))
    paths = {
        "moving": write_video(folder / "moving.mp4", frames, 8).path,
        "short": write_video(folder / "short.mp4", frames[:3], 8).path,
        "broken": folder / "broken.mp4",
    }
    paths["broken"].write_bytes(b"nothing like it")
    for path in paths.values():
        server.put_input(path)
    return paths


def score_of(result, node: Node) -> float:
    """The score that the node showed, and told the page unrounded."""
    (text,) = result.outputs(node.id)["text"]
    (told,) = result.outputs(node.id)["lumina_motion"]
    name, number = text.split()
    assert name == "motion"
    assert number == f"{told:.3f}"
    return float(number)


def load(graph: Graph, name: str = "moving") -> Node:
    return graph.add("LoadVideo", file=f"{name}.mp4")


def test_a_video_file(server, clips):
    graph = Graph()
    node = graph.ours("MeasureMotion", video=load(graph)[0], fps=24.0)
    # The file's own rate counts, not the widget.
    assert score_of(server.prompt(graph.api), node) == pytest.approx(file_motion_score(clips["moving"]), abs=1e-3)


def test_images_at_the_given_rate(server, clips):
    graph = Graph()
    parts = graph.add("GetVideoComponents", video=load(graph)[0])
    given = graph.ours("MeasureMotion", images=parts[0], fps=8.0)
    linked = graph.ours("MeasureMotion", images=parts[0], fps=parts[2])
    slower = graph.ours("MeasureMotion", images=parts[0], fps=4.0)
    result = server.prompt(graph.api)
    expected = file_motion_score(clips["moving"])
    # The host decodes colors in its own way.
    assert score_of(result, given) == score_of(result, linked) == pytest.approx(expected, rel=0.1)
    # At half the rate, half a second shows half the motion.
    assert score_of(result, slower) == pytest.approx(expected / 2, rel=0.35)


def test_a_video_made_of_images(server, clips):
    graph = Graph()
    parts = graph.add("GetVideoComponents", video=load(graph)[0])
    made = graph.add("CreateVideo", images=parts[0], fps=8.0)
    nodes = [graph.ours("MeasureMotion", video=made[0], fps=1.0), graph.ours("MeasureMotion", images=parts[0], fps=8.0)]
    result = server.prompt(graph.api)
    assert score_of(result, nodes[0]) == score_of(result, nodes[1])


def test_a_trimmed_video(server, clips):
    name = "Video Slice"
    if name not in server.object_info():
        pytest.skip(f"ComfyUI {server.host.version} cannot trim a video")
    graph = Graph()
    cut = graph.add(name, video=load(graph)[0], start_time=1.0, duration=1.5, strict_duration=True)
    node = graph.ours("MeasureMotion", video=cut[0], fps=24.0)
    expected = file_motion_score(clips["moving"], start=1.0, seconds=1.5)
    assert score_of(server.prompt(graph.api), node) == pytest.approx(expected, abs=1e-3)


def test_pictures_with_transparency(server, clips):
    graph = Graph()
    parts = graph.add("GetVideoComponents", video=load(graph)[0])
    mask = graph.add("ImageToMask", image=parts[0], channel="red")
    clear = graph.add("JoinImageWithAlpha", image=parts[0], alpha=mask[0])
    nodes = [graph.ours("MeasureMotion", images=images[0], fps=8.0) for images in (clear, parts)]
    result = server.prompt(graph.api)
    assert score_of(result, nodes[0]) == score_of(result, nodes[1])


def test_the_score_is_a_number_for_other_nodes(server, clips):
    graph = Graph()
    node = graph.ours("MeasureMotion", video=load(graph)[0], fps=24.0)
    shown = graph.add("PreviewAny", source=node[0])
    result = server.prompt(graph.api)
    (text,) = result.outputs(shown.id)["text"]
    assert float(text) == pytest.approx(file_motion_score(clips["moving"]), rel=1e-6)


def test_the_host_shows_the_score_on_the_node(server, clips):
    graph = Graph()
    graph.ours("MeasureMotion", video=load(graph)[0], fps=23.0)  # no other test's, whose result the host would reuse
    kinds = []
    server.prompt(graph.api, on_message=lambda message, _: kinds.append(message["type"]))
    assert "binary" in kinds  # text for a node is a binary message


@pytest.mark.parametrize("links, found", [((), "neither"), (("images", "video"), "both")])
def test_one_of_both_inputs_is_asked_for_when_queued(server, clips, links, found):
    graph = Graph()
    parts = graph.add("GetVideoComponents", video=load(graph)[0])
    sources = {"images": parts[0], "video": load(graph)[0]}
    node = graph.ours("MeasureMotion", fps=24.0, **{name: sources[name] for name in links})
    assert f"{found} of them" in refusal(server, graph, node)


@pytest.mark.parametrize("fps", [0, -8.0])
def test_a_rate_that_cannot_be_is_told_when_queued(server, clips, fps):
    graph = Graph()
    node = graph.ours("MeasureMotion", video=load(graph)[0], fps=fps)
    assert f"fps is {float(fps)}" in refusal(server, graph, node)


@pytest.mark.parametrize("name, words", [("short", "too short"), ("broken", "cannot be read as a video")])
def test_a_bad_video_fails_in_one_sentence(server, clips, name, words):
    graph = Graph()
    graph.ours("MeasureMotion", video=load(graph, name)[0], fps=24.0)
    found = failure(server, graph)
    assert words in found and f"{name}.mp4" in found


def test_one_picture_fails_in_one_sentence(server, clips):
    graph = Graph()
    picture = graph.add("EmptyImage", width=64, height=64, batch_size=1, color=0)
    graph.ours("MeasureMotion", images=picture[0], fps=24.0)
    assert "1 frame at 24 fps" in failure(server, graph)
