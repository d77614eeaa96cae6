"""What the page's nodes say about a plan: the server resolves names, the page only tells what stands there."""

from __future__ import annotations

import json
import urllib.request

from graphs import MODEL, SIZE
from server import HostServer

PRESET = "f24F96R960-MultiScale"


def plan(server: HostServer, *nodes: tuple[str, dict], **fields) -> dict:
    request = {"fields": fields, "nodes": [{"kind": kind, "inputs": inputs} for kind, inputs in nodes]}
    body = json.dumps(request).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/lumina-video/plan", data=body)) as answer:
        return json.loads(answer.read())


def test_nodes_tell_what_a_plan_is_made_of(server):
    nodes = (
        ("LuminaVideoPatchSchedule", {"patch": "ignored, for the node's own field is told"}),
        ("LuminaVideoModelLoader", {"model_name": MODEL}),
        ("LuminaVideoEmptyLatent", {**SIZE, "patch": "1x2"}),
        ("LuminaVideoGuidance", {"guidance": "7", "renorm": 1.0}),
        ("KSampler", {"steps": 8, "seed": 3, "points": 99}),
        ("LuminaVideoSigmas", {"points": 70}),
    )
    answer = plan(server, *nodes, patch="2x2")
    assert answer["error"] is None
    assert answer["schedules"]["patch"]["text"] == "2x2"
    assert answer["schedules"]["guidance"]["text"] == "7"
    assert len(answer["outline"]["grid"]) == 9, "KSampler's steps are one fewer than points"


def test_the_nearest_wins_also_with_a_blank_field(server):
    near = ("LuminaVideoMultiScaleSampler", {**SIZE, "preset": PRESET, "guidance": ""})
    far = ("LuminaVideoGuidance", {"guidance": "7"})
    assert plan(server, near, far)["schedules"]["guidance"]["own"] is False
    assert plan(server, far, near)["schedules"]["guidance"]["text"] == "7"


def test_a_linked_field_is_the_presets(server):
    far = ("LuminaVideoGuidance", {"guidance": "7"})
    assert plan(server, far, guidance=None)["schedules"]["guidance"]["own"] is False


def test_other_nodes_tell_nothing(server):
    assert plan(server, ("SomethingElse", {"patch": "1x2", "steps": 3}))["schedules"]["patch"]["own"] is False
