"""Additions to the shipped workflows: download links of their models, and the form of app mode.

Only the front end reads them. Links are in the loader's ``properties.models``; the page offers one if ``name`` is the
value of a field of the loader and none of the host's lists has it. A browser saves a file under the last part of its
link, so that part is the name. App mode is ``extra.linearData``: [node, field] each, and output nodes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from lumina_core.checkpoints.released import DOWNLOADS  # noqa: E402 - found through the line above

# Files that the workflows need, by name: folder below models, and download link.
LINKS = {file.name: (file.folder, file.link) for file in DOWNLOADS}

SAMPLER = "LuminaVideoMultiScaleSampler"
_MOVING = (SAMPLER, "motion", ""), (SAMPLER, "seconds", "")
# Fields that app mode shows, in order: node type, field, and a label if the field's own name is not clear.
FORM = (
    ("LoadVideo", "file", ""),
    (SAMPLER, "prompt", ""),
    ("LuminaVideoTextEncode", "text", "prompt"),
    ("LuminaVideoVideoToAudio", "prompt", "audio prompt"),
    ("LuminaVideoSoundConditioning", "prompt", "audio prompt"),
    (SAMPLER, "preset", ""),
    ("LuminaVideoPreset", "preset", ""),
    *_MOVING,
    (SAMPLER, "seed", ""),
    ("LuminaVideoNoise", "seed", ""),
    ("KSampler", "seed", ""),
    ("LuminaVideoVideoToAudio", "seed", "audio seed"),
    ("RandomNoise", "noise_seed", "audio seed"),
    ("LatentFromBatch", "batch_index", "draft"),
)
_TYPES = {"text": "STRING", "prompt": "STRING", "seed": "INT", "noise_seed": "INT", "batch_index": "INT"}
OUTPUTS = ("PreviewImage", "SaveImage", "SaveVideo")
# Title of the node whose text app mode does not show.
NEGATIVE = "Negative prompt"
# Title of a sampler whose result another one starts from: app mode shows only its prompt and seed.
SOURCE = "Source"
_OF_SOURCE = {"prompt": "source prompt", "seed": "source seed"}


def add_extras(workflow: dict[str, Any]) -> None:
    """Add links and form to a workflow in the front end's format. Doing it twice changes nothing."""
    for node in workflow["nodes"]:
        if links := model_links(node):
            node["properties"]["models"] = links
    form = form_of(workflow["nodes"])
    for node, field, label in form:
        if label:
            set_label(node, field, label)
    workflow.setdefault("extra", {})["linearData"] = {
        "inputs": [[node["id"], field] for node, field, _ in form],
        "outputs": [node["id"] for kind in OUTPUTS for node in workflow["nodes"] if node["type"] == kind],
    }


def model_links(node: dict[str, Any]) -> list[dict[str, str]]:
    """Download links of the files in the fields of a node."""
    values = [value for value in node.get("widgets_values") or [] if isinstance(value, str)]
    return [{"name": value, "url": LINKS[value][1], "directory": LINKS[value][0]} for value in values if value in LINKS]


def form_of(nodes: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str, str]]:
    """Node, field and label of each line of the form, for fields of the workflow without a link."""
    # An image has neither motion nor length.
    still = any(node["type"] == "SaveImage" for node in nodes)
    return [
        (node, field, _OF_SOURCE[field] if node.get("title") == SOURCE else label)
        for kind, field, label in FORM
        for node in nodes
        if node["type"] == kind and node.get("title") != NEGATIVE and not (still and (kind, field, label) in _MOVING)
        if node.get("title") != SOURCE or field in _OF_SOURCE
        if (_slot(node, field) or {}).get("link") is None
    ]


def set_label(node: dict[str, Any], field: str, label: str) -> None:
    """Set the label of a field, which is stored in the field's input slot."""
    slot = _slot(node, field)
    if slot is None:
        slot = {"name": field, "type": _TYPES[field], "widget": {"name": field}, "link": None}
        node["inputs"].append(slot)
    slot["label"] = label


def _slot(node: dict[str, Any], field: str) -> dict[str, Any] | None:
    return next((slot for slot in node.get("inputs", []) if slot["name"] == field), None)
