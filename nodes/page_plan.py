"""What the page asks while a schedule is edited: is it valid, what does it cost, what fits a budget."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ..lumina_core.budget import propose
from ..lumina_core.bundle import Bundle
from ..lumina_core.checkpoint import read_video_config
from ..lumina_core.config import VideoConfig
from ..lumina_core.errors import LuminaError
from ..lumina_core.outline import SCHEDULES, fault_outline, plan_outline, schedule_outline
from ..lumina_core.plan import SamplingPlan, number_schedule, patch_schedule
from ..lumina_core.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..lumina_core.schedules import ScheduleError
from ..lumina_core.solvers import SOLVERS
from .bundles import bundle_of
from .fields import clip_frames, latent_size
from .loaders import checkpoint_path


def describe(request: dict[str, Any]) -> dict[str, Any]:
    """Answer of the page's plan route.

    ``request``: ``fields`` maps names of the nodes' inputs to what stands there (schedules as text, ``points``,
    ``time_shift``, ``renorm``, ``solver``, ``width``, ``height``, ``frames``, ``seconds``, ``preset``,
    ``model_name``); what is missing or blank is the preset's. ``budget``, when given, asks for the finest schedule of
    that share instead.

    Returns ``schedules`` (name to ``schedule_outline`` or ``fault_outline``, with ``own`` telling a given text from
    the preset's), ``preset``, ``patches`` that the model has, ``error`` (the sentence with which the queue refuses, or
    None) and ``outline`` (see ``plan_outline``; None beside an error).
    """
    given = {name: value for name, value in request.get("fields", {}).items() if value not in (None, "")}
    config, bundle = _model(given.get("model_name"))
    preset = given.get("preset")
    if preset not in PRESETS:
        preset = bundle.preset if bundle else DEFAULT_PRESET
    schedules = {name: _schedule(name, given, preset) for name in SCHEDULES}
    answer = {
        "schedules": schedules,
        "preset": preset,
        "patches": [str(patch) for patch in config.patches],
        "error": next((s["error"] for s in schedules.values() if "error" in s), None),
        "outline": None,
    }
    if answer["error"] is None:
        try:
            plan, size = _plan(given, preset), _size(given, preset)
            config.check_size(size, plan.patches)
            if request.get("budget") is not None:
                plan = propose(plan, float(request["budget"]), size, config)
                schedules["patch"] = {**schedule_outline(plan.patch), "own": True}
            answer["outline"] = plan_outline(plan, size, config)
        except LuminaError as error:
            answer["error"] = str(error)
    return answer


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
    changes |= {name: given[name] for name in ("renorm", "time_shift") if name in given}
    if given.get("points"):
        changes["points"] = given["points"]
    # Samplers of the host evaluate once a step, or do not say how often.
    solver = given.get("solver")
    return PRESETS[preset].replace(solver=solver if solver in SOLVERS else "euler", **changes)


def _size(given: dict, preset: str):
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
