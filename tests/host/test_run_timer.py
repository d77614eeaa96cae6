"""What the page hears of a run, and what is remembered of it."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request

import pytest
from graphs import Graph, Node, custom_sampler, guided, preset_parts, sampler_node
from PIL import Image
from server import HostServer, Result

PATCH = "2x4 | 0.3: 2x2 | 0.6: 1x2"
GUIDANCE = "4 | 0.7: 0"
STEPS = 6
SEGMENTS = [("2x4", True), ("2x2", True), ("1x2", True), ("1x2", False)]


def post(server: HostServer, path: str, body: object) -> dict:
    request = urllib.request.Request(server.url + path, data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def told(result: Result, event: str) -> list[dict]:
    return [message["data"] for message in result.messages if message["type"] == f"lumina-video.{event}"]


def all_in_one(graph: Graph, **more) -> Node:
    return sampler_node(graph, patch=PATCH, guidance=GUIDANCE, points=STEPS + 1, **more)


def advanced(graph: Graph, seed: int) -> Node:
    parts = preset_parts(graph, "f24F96R960-MultiScale")
    graph.api[parts.model.id]["inputs"]["patch"] = PATCH
    guider = guided(graph, parts)
    graph.api[guider.id]["inputs"]["guidance"] = GUIDANCE
    sigmas = graph.ours("Sigmas", points=STEPS + 1, time_shift=1.0)
    return custom_sampler(graph, guider, sigmas[0], parts.latent[0], graph.ours("Noise", seed=seed))


def ksampler(graph: Graph, seed: int, name: str = "euler") -> Node:
    parts = preset_parts(graph, "f24F96R960-MultiScale")
    graph.api[parts.model.id]["inputs"]["patch"] = PATCH
    model = graph.ours("Guidance", model=parts.model[0], guidance=GUIDANCE, renorm=1.0)
    return graph.add(
        "KSampler", model=model[0], positive=parts.conditioning[0], negative=parts.conditioning[1],
        latent_image=parts.latent[0], seed=seed, steps=STEPS, cfg=1.0, sampler_name=name, scheduler="simple",
        denoise=1.0,
    )  # fmt: skip


def run(server: HostServer, build, *args, **more) -> tuple[Result, Node]:
    graph = Graph()
    node = build(graph, *args, **more)
    graph.save_latent(node[0])
    return server.prompt(graph.api), node


@pytest.fixture
def forgotten(server):
    """The server without a past, remembering."""
    assert post(server, "/lumina-video/timings", {"remember": True, "erase": True}) == {"remember": True, "runs": 0}
    return server


@pytest.mark.parametrize("build", [ksampler, advanced])
def test_samplers_of_the_host_tell_every_step(server, build):
    result, node = run(server, build, 11)
    steps = told(result, "progress")
    assert {step["node"] for step in steps} == {node.id}
    assert [(step["step"], step["steps"]) for step in steps] == [(i + 1, STEPS) for i in range(STEPS)]
    grid = [i / STEPS for i in range(STEPS)]
    assert [step["t"] for step in steps] == pytest.approx(grid, abs=2e-3)
    patches = ["2x4", "2x4", "2x2", "2x2", "1x2", "1x2"]
    assert [(step["patch"], step["guided"]) for step in steps] == [(p, i < 5) for i, p in enumerate(patches)]
    assert steps[2]["text"] == "2x2, step 3 of 6, guided"
    (ended,) = told(result, "result")
    assert [(s["patch"], s["guided"]) for s in ended["segments"]] == SEGMENTS
    assert [(s["first_step"], s["last_step"]) for s in ended["segments"]] == [(1, 2), (3, 4), (5, 5), (6, 6)]
    assert ended["seconds"] == pytest.approx(sum(s["seconds"] for s in ended["segments"]))


@pytest.mark.parametrize("solver", ["euler", "rk4"])
def test_the_all_in_one_node_tells_every_step(server, solver):
    result, node = run(server, all_in_one, seed=12, solver=solver, preset="mini-MultiScale")
    steps = told(result, "progress")
    assert [(step["node"], step["step"]) for step in steps] == [(node.id, i + 1) for i in range(STEPS)]
    (ended,) = told(result, "result")
    assert ended["node"] == node.id and ended["segments"][-1]["last_step"] == STEPS
    assert ended["seconds"] == pytest.approx(sum(s["seconds"] for s in ended["segments"]))


def test_a_sampler_with_two_evaluations_a_step(server):
    result, _ = run(server, ksampler, 13, "heun")
    assert [step["patch"] for step in told(result, "progress")] == ["2x4", "2x4", "2x2", "2x2", "1x2", "1x2"]
    (ended,) = told(result, "result")
    assert ended["seconds"] == pytest.approx(sum(s["seconds"] for s in ended["segments"]))


def test_the_estimate_is_the_one_from_before_the_run(forgotten):
    first, second = (told(run(forgotten, ksampler, seed)[0], "result")[0] for seed in (14, 15))
    assert first["estimate"] is None and {s["estimate"] for s in first["segments"]} == {None}
    assert second["estimate"] == pytest.approx(sum(s["estimate"] for s in second["segments"]))
    assert second["estimate"] > 0
    assert json.loads(forgotten.get("/lumina-video/timings")) == {"remember": True, "runs": 2}


def test_nothing_is_kept_while_remembering_is_off(forgotten):
    file = forgotten.base / "user" / "__lumina_video" / "timings.json"
    assert post(forgotten, "/lumina-video/timings", {"remember": False})["remember"] is False
    before = file.read_text(encoding="utf-8")
    run(forgotten, ksampler, 16)
    assert file.read_text(encoding="utf-8") == before
    assert post(forgotten, "/lumina-video/timings", {"remember": True}) == {"remember": True, "runs": 0}


def test_what_is_kept_names_no_files_and_no_prompts(forgotten):
    run(forgotten, ksampler, 17)
    text = (forgotten.base / "user" / "__lumina_video" / "timings.json").read_text(encoding="utf-8")
    (kept,) = json.loads(text)["runs"]
    assert set(kept) == {"device", "model", "weights", "dtype", "shapes"}
    assert sum(shape["evaluations"] for shape in kept["shapes"]) == STEPS
    assert "cat" not in text and "consolidated" not in text and str(forgotten.base) not in text


@pytest.mark.parametrize("text", ["{", '{"remember": 1, "runs": []}', '{"remember": true, "runs": [{"device": 3}]}'])
def test_a_damaged_file_starts_anew(forgotten, text):
    (forgotten.base / "user" / "__lumina_video" / "timings.json").write_text(text, encoding="utf-8")
    before = forgotten.log.count("recorded run times were reset")
    for _ in range(2):
        assert json.loads(forgotten.get("/lumina-video/timings")) == {"remember": True, "runs": 0}
    assert forgotten.log.count("recorded run times were reset") == before + 1


@pytest.mark.parametrize("body", [{}, [], {"erase": 1}, {"forget": True}, 3])
def test_wrong_requests_change_nothing(forgotten, body):
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(forgotten, "/lumina-video/timings", body)
    assert refused.value.code == 400
    assert json.loads(refused.value.read())["error"].startswith("Send {")


def test_an_interrupted_run_is_not_recorded(forgotten):
    graph = Graph()
    node = sampler_node(graph, patch="1x2", points=40, seed=18, width=256, height=256, frames=32)
    graph.save_latent(node[0])

    def stop(message, result):
        if message["type"] == "lumina-video.progress" and message["data"]["step"] == 2:
            forgotten.interrupt()

    result = forgotten.prompt(graph.api, on_message=stop)
    assert result.interrupted and told(result, "result") == []
    assert json.loads(forgotten.get("/lumina-video/timings"))["runs"] == 0


def test_previews_play_the_clip(server):
    result, _ = run(server, all_in_one, seed=19)
    pictures = [Image.open(io.BytesIO(data)).tobytes() for data in result.previews]
    assert len(pictures) == STEPS and len(set(pictures)) == STEPS


def test_nodes_tell_the_schedules_that_they_ran_with(server):
    graph = Graph()
    graph.save_latent(ksampler(graph, 20)[0])
    server.forget()  # a node whose result the host still has says nothing
    result = server.prompt(graph.api)
    kinds = {key: node["class_type"].removeprefix("LuminaVideo") for key, node in graph.api.items()}
    shown = {
        kinds[message["data"]["node"]]: message["data"]["output"]["lumina_schedules"]
        for message in result.messages
        if message["type"] == "executed" and "lumina_schedules" in (message["data"]["output"] or {})
    }
    assert shown["PatchSchedule"] == [{"patch": PATCH}] and shown["Guidance"] == [{"guidance": GUIDANCE}]
    assert set(shown["Preset"][0]) == {"patch", "guidance", "motion", "negative_motion"}
    assert set(shown["MotionScore"][0]) == {"motion", "negative_motion"}
