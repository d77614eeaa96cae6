"""The shipped workflows in the front end: listed as templates, with models to download and a form for app mode."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from frontend import FrontendMissing, run_node
from hosts import REPOSITORY
from server import PACK, HostServer
from test_timeline import NODES2_FROM
from test_workflows import NAMES, WORKFLOWS, twin

sys.path.append(str(REPOSITORY / "scripts"))

from workflow_extras import LINKS, add_extras  # noqa: E402

SCRIPT = Path(__file__).with_name("templates.mjs")
SAMPLER_FORM = ["prompt", "preset", "motion", "seconds", "seed"]
PARTS_FORM = ["prompt", "preset", "seed"]
SOURCE_FORM = ["source prompt", "prompt", "preset", "source seed", "seed"]
SOUND_FORM = ["file", "audio prompt", "audio seed"]
FORMS = {
    "1_mini_text_to_video": SAMPLER_FORM,
    "2_mini_video_with_audio": ["prompt", "audio prompt", "preset", "motion", "seconds", "seed", "audio seed"],
    "3_mini_image_to_video": SOURCE_FORM,
    "4_mini_video_to_video": SOURCE_FORM,
    "5_mini_continue_video": SOURCE_FORM,
    "draft_then_refine": [*PARTS_FORM, "draft"],
    "frames_to_audio": SOUND_FORM,
    "image": PARTS_FORM,
    "ksampler": PARTS_FORM,
    "lumina_next_image": ["prompt", "seed"],
    "multi_scale": PARTS_FORM,
    "single_scale": PARTS_FORM,
    "text_to_video": SAMPLER_FORM,
    "video_to_audio": SOUND_FORM,
    "video_to_audio_in_parts": SOUND_FORM,
}
"""What app mode asks for, in this order."""
RELEASED = "text_to_video"
"""A workflow that needs every released file of Lumina-Video."""


def shipped(name: str) -> dict:
    """The workflow in the front end's format."""
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def ask(server: HostServer, task: str, mode: str, names: list[str]) -> dict:
    """What tests/host/templates.mjs answers, by name."""
    text = json.dumps({name: shipped(name) for name in names})
    try:
        return json.loads(run_node(SCRIPT, server.url, task, mode, text=text))
    except FrontendMissing as error:
        pytest.skip(f"needs the front end: {error}")


@pytest.fixture(scope="module")
def bare(server: HostServer) -> Iterator[HostServer]:
    """The host with no model files but the bundled ones."""
    with server.no_models():
        yield server


def put_released_files(server: HostServer) -> None:
    for name, (folder, _) in LINKS.items():
        file = server.base / "models" / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.mark.parametrize("name", NAMES)
def test_extras_are_those_of_the_script(name: str):
    workflow = shipped(name)
    again = json.loads(json.dumps(workflow))
    add_extras(again)
    assert again == workflow, "build the workflows again: python scripts/build_workflows.py"


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_loader_names_has_a_link(name: str):
    for node in shipped(name)["nodes"]:
        values = node.get("widgets_values") or []
        files = [value for value in values if isinstance(value, str) and value.endswith((".safetensors", ".pth"))]
        links = node["properties"].get("models", [])
        assert [link["name"] for link in links] == files
        for link in links:
            parts = urlsplit(link["url"])
            assert (parts.scheme, parts.netloc, parts.query) == ("https", "huggingface.co", "")
            assert "/resolve/main/" in parts.path
            # A browser saves under the link's own name, whatever name the page asks for.
            assert parts.path.rsplit("/", 1)[1] == link["name"]
            assert link["directory"] in ("diffusion_models", "text_encoders", "vae")


@pytest.mark.parametrize("name", NAMES)
def test_form_names_fields_that_hold_a_value(name: str):
    form, prompt = shipped(name)["extra"]["linearData"], twin(name)
    assert len(form["inputs"]) == len(FORMS[name])
    for node, field in form["inputs"]:
        assert not isinstance(prompt[str(node)]["inputs"][field], list), f"{field} of node {node} comes from a link"
    savers = [key for key, node in prompt.items() if node["class_type"].startswith("Save")]
    assert savers and set(savers) <= {str(node) for node in form["outputs"]} <= set(prompt)


def test_host_lists_every_workflow_with_its_picture(bare: HostServer):
    listed = json.loads(bare.get("/api/workflow_templates"))
    assert sorted(listed[PACK]) == NAMES
    for name in NAMES:
        assert json.loads(bare.get(f"/api/workflow_templates/{PACK}/{name}.json")) == shipped(name)
        assert bare.get(f"/api/workflow_templates/{PACK}/{name}.jpg")[:2] == b"\xff\xd8"


@pytest.fixture(scope="module", params=["classic", "nodes2"])
def opened(request: pytest.FixtureRequest, bare: HostServer) -> dict[str, dict]:
    """Every workflow, opened twice in one way of drawing nodes."""
    version = tuple(int(part) for part in re.findall(r"\d+", bare.host.version)[:2])
    if request.param == "nodes2" and version < NODES2_FROM:
        pytest.skip(f"ComfyUI {bare.host.version} has no Nodes 2.0.")
    return ask(bare, "again", request.param, NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_prompt_survives_load_and_save(opened: dict[str, dict], name: str):
    first, second = opened[name]["prompts"]
    assert first == second
    kept, again = opened[name]["values"]
    assert kept == again


@pytest.mark.parametrize("name", NAMES)
def test_no_node_lies_on_another(opened: dict[str, dict], name: str):
    boxes = opened[name]["boxes"]
    assert len(boxes) == len(shipped(name)["nodes"])
    assert [(a[0], b[0]) for a, b in combinations(boxes, 2) if overlap(a, b)] == []


def overlap(first: list, second: list) -> bool:
    """Whether two boxes of [type, left, top, right, bottom] share a point."""
    return first[1] < second[3] and second[1] < first[3] and first[2] < second[4] and second[2] < first[4]


def test_app_mode_shows_the_form(bare: HostServer):
    answers = ask(bare, "app", "classic", NAMES)
    if all(answer is None for answer in answers.values()):
        pytest.skip("this front end has no app mode")
    for name, answer in answers.items():
        before, during = answer["prompts"]
        assert before == during, name
        assert answer["fields"] == FORMS[name]
        assert [text for text in answer["said"] if "appMode" in text] == [], name


def test_page_offers_the_missing_models(bare: HostServer):
    """First without the files, then with them: so one test."""
    linked = [link for node in shipped(RELEASED)["nodes"] for link in node["properties"].get("models", [])]
    wanted = {link["url"]: link["name"] for link in linked}
    assert len(wanted) == 3
    answer = ask(bare, "models", "classic", [RELEASED])[RELEASED]
    # Older pages name a missing .pth and offer no download of it.
    version = tuple(int(part) for part in re.findall(r"\d+", bare.host.version)[:2])
    loaded = {url: name for url, name in wanted.items() if version >= NODES2_FROM or not name.endswith(".pth")}
    assert {entry["url"]: entry["file"] for entry in answer["saved"]} == loaded
    assert all(any(name in line for line in answer["offered"]) for name in wanted.values())
    put_released_files(bare)
    assert ask(bare, "models", "classic", [RELEASED])[RELEASED]["saved"] == []
