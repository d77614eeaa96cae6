"""The shipped workflows as they are (no tiny models) fit the host's nodes, and their files carry the prompt."""

import json

import av
import pytest
from graphs import CLIP_FPS, SIZE
from PIL import Image
from test_workflows import LONGER, NAMES, shrunk, twin

from lumina_core.sampling.presets import preset_clip

# Names of files that only a user has.
FILES = {"model_name", "vae_name", "clip_name", "folder", "codec_name", "file"}


def fps_of(prompt: dict[str, dict]) -> int:
    """Frames per second of the preset that the graph names, or of the video that it loads."""
    if any(node["class_type"] == "LoadVideo" for node in prompt.values()):
        return CLIP_FPS
    (preset,) = {node["inputs"]["preset"] for node in prompt.values() if "preset" in node["inputs"]}
    return preset_clip(preset).fps


@pytest.fixture(scope="module")
def offered(server) -> dict[str, dict]:
    return server.object_info()


def _fault(value, spec: list) -> str | None:
    """Why the host would refuse a widget's value."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices is not None:
        # A newer host's choice may bring inputs of its own.
        choices = [choice["key"] if isinstance(choice, dict) else choice for choice in choices]
        return None if value in choices else f"{value!r} is none of {choices}"
    types = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
    if kind not in types:
        return f"{kind} needs a link"
    if not isinstance(value, types[kind]) or isinstance(value, bool) != (kind == "BOOLEAN"):
        return f"{value!r} is no {kind}"
    if not options.get("min", value) <= value <= options.get("max", value):
        return f"{value!r} lies outside {options.get('min')}..{options.get('max')}"
    return None


@pytest.mark.parametrize("name", NAMES)
def test_nodes_inputs_and_values_exist(offered, name):
    prompt, faults = twin(name), []
    for key, node in prompt.items():
        info = offered[node["class_type"]]["input"]
        known = {**info.get("required", {}), **info.get("optional", {})}
        faults += [f"{key}: no input {field}" for field in node["inputs"] if field not in known]
        faults += [f"{key}: {field} is not given" for field in info.get("required", {}) if field not in node["inputs"]]
        for field, value in node["inputs"].items():
            if isinstance(value, list):
                source, slot = value
                made = offered[prompt[source]["class_type"]]["output"][slot]
                if made != known[field][0]:
                    faults.append(f"{key}: {field} takes {known[field][0]}, and node {source} gives {made}")
            elif field not in FILES and (fault := _fault(value, known[field])):
                faults.append(f"{key}: {field}: {fault}")
    assert faults == []


@pytest.mark.parametrize("name", NAMES)
def test_file_carries_the_prompt(server, name):
    prompt = shrunk(twin(name))
    result = server.prompt(prompt, workflow={"name": name})
    (file,) = [file for key, node in prompt.items() if "Save" in node["class_type"] for file in result.files(key)]
    if file.suffix == ".png":
        carried = Image.open(file).text
    else:
        with av.open(str(file)) as container:
            carried = dict(container.metadata)
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert (stream.average_rate, stream.frames) == (fps_of(prompt), LONGER.get(name, SIZE["frames"]))
    found = json.loads(carried["prompt"])
    for node in found.values():
        # What fingerprint_inputs said; the host writes it into the prompt.
        node.pop("is_changed", None)
    assert found == prompt
    assert str(server.base) not in carried["prompt"], "the file tells where its maker keeps the models"
    assert json.loads(carried["workflow"]) == {"name": name}
