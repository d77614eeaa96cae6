"""Every shipped workflow runs to its output, reads the same in the front end, and comes back out of its own video."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import av
import pytest
from frontend import FrontendMissing, run_frontend, same_prompt
from graphs import CODEC, ENCODER, FEATURES, MODEL, NEXT, NEXT_ENCODER, NEXT_VAE, SIZE, SOUND_MODEL, VAE
from hosts import REPOSITORY
from server import HostServer

WORKFLOWS = REPOSITORY / "workflows"
NAMES = sorted(file.stem for file in WORKFLOWS.glob("*.json"))
VIDEO = "text_to_video"
LONGER = {"5_mini_continue_video": SIZE["frames"] + SIZE["frames"] - 8}
"""Frames of the files that join two clips, of which the second begins with 8 frames of the first."""
POINTS = 12


def twin(name: str) -> dict[str, dict]:
    """The workflow in API format."""
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


def shrunk(prompt: dict[str, dict]) -> dict[str, dict]:
    """The same graph on the tiny models, a small clip and few steps; an image stays one."""
    small = copy.deepcopy(prompt)
    # Pictures of Lumina-Next have files of their own.
    next_files = {"model_name": NEXT, "folder": NEXT_ENCODER, "vae_name": NEXT_VAE}
    is_next = any(node["class_type"] == "LuminaVideoImageModelLoader" for node in small.values())
    for node in small.values():
        inputs = node["inputs"]
        if node["class_type"] == "CLIPLoader":
            node["class_type"], node["inputs"] = "LuminaVideoTextEncoderLoader", {"folder": ENCODER}
        if node["class_type"] == "LuminaVideoTextEncoderLoader":
            inputs["folder"] = ENCODER
        replaced = {"model_name": MODEL, "vae_name": VAE, "points": POINTS, "steps": POINTS - 1, **SIZE}
        if "Sound" in node["class_type"]:
            replaced = {"model_name": SOUND_MODEL, "folder": FEATURES, "codec_name": CODEC}
        if inputs.get("frames") in (0, 1):
            del replaced["frames"]
        if is_next:
            replaced |= next_files
        inputs.update({name: value for name, value in replaced.items() if name in inputs})
    return small


@pytest.fixture(scope="module")
def pages(server: HostServer) -> dict[str, dict]:
    """What the front end makes of every shipped workflow, by name."""
    jobs = [{"load": json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))} for name in NAMES]
    return dict(zip(NAMES, _frontend(server, jobs), strict=True))


def _frontend(server: HostServer, jobs: list[dict]) -> list[dict]:
    try:
        return run_frontend(server.url, jobs)
    except FrontendMissing as error:
        pytest.skip(f"needs the front end: {error}")


def test_every_workflow_has_its_twin_and_its_picture():
    assert {file.stem for file in (WORKFLOWS / "api").glob("*.json")} == set(NAMES)
    for name in NAMES:
        assert (WORKFLOWS / f"{name}.jpg").read_bytes()[:2] == b"\xff\xd8", name


@pytest.mark.parametrize("name", NAMES)
def test_workflow_runs(server: HostServer, name: str):
    prompt = shrunk(twin(name))
    result = server.prompt(prompt)
    savers = [key for key, node in prompt.items() if node["class_type"].startswith("Save")]
    (file,) = [file for key in savers for file in result.files(key)]
    frames = 1 if file.suffix == ".png" else LONGER.get(name, SIZE["frames"])
    assert read_video(file) == (SIZE["width"], SIZE["height"], frames)


def read_video(file: Path) -> tuple[int, int, int]:
    """Width, height and number of frames."""
    with av.open(str(file)) as container:
        frames = [frame for frame in container.decode(video=0)]
    return frames[0].width, frames[0].height, len(frames)


@pytest.mark.parametrize("name", NAMES)
def test_front_end_reads_the_twin_out_of_the_workflow(pages: dict[str, dict], name: str):
    page = pages[name]
    assert page["missing"] == []
    assert same_prompt(twin(name), page["output"]) == []


def test_video_dropped_on_the_page_brings_its_workflow_back(server: HostServer, pages: dict[str, dict]):
    prompt = shrunk(twin(VIDEO))
    (saver,) = [key for key, node in prompt.items() if node["class_type"] == "SaveVideo"]
    # Another name than test_workflow_runs gives: else the host takes its file from the cache.
    prompt[saver]["inputs"]["filename_prefix"] = "video/dropped"
    result = server.prompt(prompt, workflow=pages[VIDEO]["workflow"])
    (file,) = result.files(saver)
    (dropped,) = _frontend(server, [{"drop": str(file)}])
    assert dropped["missing"] == []
    assert same_prompt(pages[VIDEO]["output"], dropped["output"]) == []
