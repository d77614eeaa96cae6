"""What the page asks while a schedule is edited: is it valid, what does it cost, what fits a budget."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...lumina_core.checkpoints.video import read_video_config
from ...lumina_core.cost.budget import propose
from ...lumina_core.cost.runtime import Shape, estimate
from ...lumina_core.cost.summary import SCHEDULES, fault_outline, plan_outline, schedule_outline
from ...lumina_core.errors import LuminaError
from ...lumina_core.network.config import VideoConfig
from ...lumina_core.pipelines.bundle import Bundle
from ...lumina_core.sampling.plan import SamplingPlan, number_schedule, patch_schedule
from ...lumina_core.sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ...lumina_core.sampling.solvers import SOLVERS
from ...lumina_core.shapes.latents import LatentSize
from ...lumina_core.shapes.schedules import ScheduleError
from ..host.bundles import bundle_of
from ..host.run_room import run_room
from ..host.run_timer import device_name
from ..host.timing_store import model_key, past_runs
from ..inputs import clip_frames, latent_size
from ..loaders import WEIGHT_DTYPES, checkpoint_path
from .graph import with_graph

_TEXTS = (*SCHEDULES, "preset", "solver", "times", "model_name", "weight_dtype")
_WHOLE = ("width", "height", "frames", "points", "batch_size")
_NUMBERS = ("seconds", "time_shift", "renorm", "context_drop")
_MOST_POINTS = 1000
"""As many as the nodes take; a longer grid would only hold up the server."""


class BadRequest(LuminaError):
    """A request that no page of ours sends."""


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """Answer of the page's plan route.

    ``request``: ``fields`` maps names of the nodes' inputs to what stands there (schedules as text, ``points``,
    ``time_shift``, ``renorm``, ``solver``, ``times``, ``width``, ``height``, ``frames``, ``seconds``, ``preset``,
    ``context_drop``, ``model_name``, ``weight_dtype``, ``batch_size``); what is missing, null (a linked input) or blank
    is the preset's. ``nodes``, when given, holds further fields (see ``page_graph``). ``budget``, when given, asks for
    the finest schedule of that share instead.

    Returns ``schedules`` (name to ``schedule_outline`` or ``fault_outline``, with ``own`` telling a given text from
    the preset's), ``preset``, ``patches`` that the model has, ``error`` (the sentence with which the queue refuses, or
    None), ``outline`` (see ``plan_outline``; None beside an error) and ``estimate`` (None where this machine has no
    runs of the model to learn from; else ``seconds``, those of the outline's ``segments``, the number of past
    ``runs`` behind them, and ``exact``, whether every segment's shape ran before).

    Raises BadRequest for values of a wrong type.
    """
    given, budget = _fields(with_graph(request))
    config, bundle = _model(given.get("model_name"))
    asked = given.get("preset")
    preset = asked if asked in PRESETS else bundle.preset if bundle else DEFAULT_PRESET
    schedules = {name: _schedule(name, given, preset) for name in SCHEDULES}
    answer = {
        "schedules": schedules,
        "preset": preset,
        "patches": [str(patch) for patch in config.patches],
        "error": next((s["error"] for s in schedules.values() if "error" in s), _preset_fault(asked)),
        "outline": None,
        "estimate": None,
    }
    if answer["error"] is None:
        try:
            plan, size = _plan(given, preset), _size(given, preset)
            config.check_size(size, plan.patches)
            if budget is not None:
                plan = propose(plan, budget, size, config)
                schedules["patch"] = {**schedule_outline(plan.patch), "own": True}
            facts = run_room(config, WEIGHT_DTYPES.get(given.get("weight_dtype")))
            answer["outline"] = plan_outline(plan, size, config, batch=given.get("batch_size", 1), **facts)
            answer["estimate"] = _estimate(answer["outline"]["segments"], given, config)
        except LuminaError as error:
            answer["error"] = str(error)
    return answer


def _preset_fault(name: str | None) -> str | None:
    if name is None or name in PRESETS:
        return None
    return f"preset is '{name}', which does not exist in this version; choose one of {', '.join(PRESETS)}."


def _fields(request: Any) -> tuple[dict[str, Any], float | None]:
    """The fields that hold something, checked, and the budget."""
    fields = request.get("fields", {}) if isinstance(request, dict) else None
    if not isinstance(fields, dict):
        raise BadRequest('The request is not an object with "fields"; send {"fields": {name: value, ...}}.')
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    for name in _TEXTS:
        if not isinstance(given.get(name, ""), str):
            raise BadRequest(f"{name} is {given[name]!r}; send a text.")
    for name in (*_WHOLE, *_NUMBERS):
        if name in given:
            given[name] = _number(name, given[name], whole=name in _WHOLE)
    if given.get("points", 0) > _MOST_POINTS:
        raise BadRequest(f"points is {given['points']}; send at most {_MOST_POINTS}.")
    if given.get("batch_size", 1) < 1:
        raise BadRequest(f"batch_size is {given['batch_size']}; send at least 1.")
    budget = request.get("budget")
    return given, None if budget is None else _number("budget", budget, whole=False)


def _number(name: str, value: Any, whole: bool) -> int | float:
    kind = "a whole number" if whole else "a number"
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (whole and value != int(value)):
        raise BadRequest(f"{name} is {value!r}; send {kind}.")
    return int(value) if whole else float(value)


def _schedule(name: str, given: dict, preset: str) -> dict[str, Any]:
    text = given.get(name)
    own = isinstance(text, str) and bool(text.strip())
    if not own:
        return {**schedule_outline(getattr(PRESETS[preset], name)), "own": False}
    try:
        return {**schedule_outline(_parse(name, text)), "own": True}
    except ScheduleError as error:
        return {**fault_outline(text, error), "own": True}


def _parse(name: str, text: str):
    return patch_schedule(text) if name == "patch" else number_schedule(name, text)


def _plan(given: dict, preset: str) -> SamplingPlan:
    changes = {name: given[name] for name in SCHEDULES if isinstance(given.get(name), str) and given[name].strip()}
    changes |= {name: given[name] for name in ("renorm", "time_shift", "times", "context_drop") if name in given}
    if given.get("points"):
        changes["points"] = given["points"]
    # Samplers of the host evaluate once a step, or do not say how often.
    solver = given.get("solver")
    plan = PRESETS[preset].replace(solver=solver if solver in SOLVERS else "euler", **changes)
    if plan.points > _MOST_POINTS:
        raise LuminaError(f"times lists {plan.points} points; write at most {_MOST_POINTS}.")
    return plan


def _estimate(segments: list[dict], given: dict, config: VideoConfig) -> dict[str, Any] | None:
    """Seconds of an outline's segments on this machine."""
    batch = given.get("batch_size", 1)
    parts = [
        (Shape(s["patch"], s["tokens"], batch, s["guided"], round(batch * s["flops"] / s["evaluations"])),
         s["evaluations"])
        for s in segments
    ]  # fmt: skip
    found = estimate(past_runs(device_name(), model_key(config), given.get("weight_dtype")), parts)
    if found is None:
        return None
    return {"seconds": found.seconds, "segments": list(found.parts), "runs": found.runs, "exact": found.exact}


def _size(given: dict, preset: str) -> LatentSize:
    size = preset_clip(preset).size
    width, height, frames = (given.get(name, getattr(size, name)) for name in ("width", "height", "frames"))
    return latent_size(width, height, clip_frames(preset, frames, given.get("seconds", 0.0)))


def _model(name: str | None) -> tuple[VideoConfig, Bundle | None]:
    """Config of the model that the loader names, and its bundle; the released one's where it cannot be read yet."""
    if not isinstance(name, str):
        return VideoConfig(), None
    try:
        path = checkpoint_path(name)
        stat = path.stat()
        return _config(path, stat.st_mtime_ns, stat.st_size), bundle_of(name)
    except (LuminaError, OSError):
        return VideoConfig(), None


@lru_cache(maxsize=8)
def _config(path: Path, mtime: int, size: int) -> VideoConfig:
    if path.suffix != ".safetensors":
        # A .pth has no header: reading it whole would hold up the page.
        return VideoConfig()
    return read_video_config(path)
