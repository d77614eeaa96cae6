"""Which inputs of which nodes make a plan: the page sends what stands in the nodes, this says what it means."""

from __future__ import annotations

from typing import Any

from ...lumina_core.cost.summary import SCHEDULES
from ..size import told_size

_SIZE = ("width", "height", "frames")
_OPTIONS = ("times", "context_drop")
_TOLD_BY = {
    "LuminaVideoMultiScaleSampler": (*SCHEDULES, "preset", *_SIZE, "seconds", "points", "solver", *_OPTIONS),
    "LuminaVideoPreset": ("preset",),
    "LuminaVideoPatchSchedule": ("patch",),
    "LuminaVideoGuidance": ("guidance", "renorm"),
    "LuminaVideoGuider": ("guidance", "renorm"),
    "LuminaVideoMotionScore": ("motion", "negative_motion"),
    "LuminaVideoSplitSigmas": ("patch",),
    "LuminaVideoSigmas": ("points", "time_shift", "times"),
    "LuminaVideoSolver": ("solver",),
    "LuminaVideoEmptyLatent": (*_SIZE, "batch_size"),
    "LuminaVideoImageToVideo": ("frames",),
    "LuminaVideoModelLoader": ("model_name", "weight_dtype"),
    "LuminaVideoContextDrop": ("until",),
    "KSampler": ("steps",),
    "KSamplerAdvanced": ("steps",),
}


def plan_fields(nodes: list[dict[str, Any]], fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a plan as ``page_plan.describe`` reads them.

    ``nodes``: ``{kind, inputs: {name: value}}`` of the nodes that links join to the one that asks, nearest first, with
    the inputs that have no link. ``fields``: what the asking node itself says. The first that tells a field wins, also
    when it tells it blank (the preset's).
    """
    told = dict(fields)
    for node in nodes:
        inputs = node.get("inputs", {})
        for name in _TOLD_BY.get(node.get("kind"), ()):
            if name == "steps" and isinstance(inputs.get(name), int):
                told.setdefault("points", inputs[name] + 1)
            elif name == "until" and name in inputs:
                told.setdefault("context_drop", inputs[name])
            elif name == "context_drop" and not inputs.get(name):
                continue  # The sampler leaves it to a node before it.
            elif name in inputs:
                told.setdefault(name, inputs[name])
        if node.get("kind") == "LuminaVideoSize":
            told = {**told_size(inputs), **told}
    return told


def with_graph(request: Any) -> Any:
    """A request of the page with its ``nodes`` read into ``fields``; any other as it is."""
    nodes = request.get("nodes") if isinstance(request, dict) else None
    fields = request.get("fields", {}) if nodes else None
    readable = isinstance(nodes, list) and isinstance(fields, dict) and all(_is_node(node) for node in nodes)
    return {**request, "fields": plan_fields(nodes, fields)} if readable else request


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("kind"), str) and isinstance(node.get("inputs"), dict)
