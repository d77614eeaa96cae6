"""Answers for the page while a schedule is edited: is it valid, what does it cost, which schedule fits a budget."""

from __future__ import annotations

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
from ...lumina_core.shapes.schedules import Piecewise, ScheduleError
from ..host.bundles import bundle_of
from ..host.run_memory import run_memory
from ..host.run_timer import device_name
from ..host.timing_store import model_key, past_runs
from ..inputs import clip_frames, latent_size
from ..loaders import WEIGHT_DTYPES, checkpoint_path
from ..plan_inputs import preset_plan
from .request import MOST_POINTS, PlanFields, PlanRequest


def describe(body: Any) -> dict[str, Any]:
    """The answer of the plan route to the JSON of a ``PlanRequest``.

    Args:
        body: the parsed JSON.

    Returns:
        schedules: name to ``schedule_outline`` or ``fault_outline``, and ``own``, False where it is the preset's.
        preset: its name.
        patches: patch sizes of the model.
        error: the message with which the queue would reject the plan, or None.
        outline: see ``plan_outline``; None if there is an error.
        estimate: None if this machine has no past runs of the model; else ``seconds``, the seconds of the outline's
            ``segments``, the number of past ``runs`` it is based on, and ``exact``, whether every segment's shape
            has run before.

    Raises:
        BadRequest: the body has another form, or a value has the wrong type.
    """
    request = PlanRequest.of(body)
    fields = request.fields
    config, bundle = _model(fields.model_name)
    preset = fields.preset if fields.preset in PRESETS else bundle.preset if bundle else DEFAULT_PRESET
    schedules = {name: _schedule(name, getattr(fields, name)) for name in SCHEDULES}
    answer: dict[str, Any] = {
        "schedules": {name: _drawn(name, found, fields, preset) for name, found in schedules.items()},
        "preset": preset,
        "patches": [str(patch) for patch in config.patches],
        "error": None,
        "outline": None,
        "estimate": None,
    }
    try:
        _raise_first_fault(schedules, fields.preset)
        plan, size = _plan(fields, schedules, preset), _size(fields, preset)
        config.check_size(size, plan.patches)
        if request.budget is not None:
            plan = propose(plan, request.budget, size, config)
            answer["schedules"]["patch"] = {**schedule_outline(plan.patch), "own": True}
        facts = run_memory(config, WEIGHT_DTYPES.get(fields.weight_dtype or "default"))
        answer["outline"] = plan_outline(plan, size, config, batch=fields.batch_size, **facts)
        answer["estimate"] = _estimate(answer["outline"]["segments"], fields, config)
    except LuminaError as error:
        answer["error"] = str(error)
    return answer


def _schedule(name: str, text: str | None) -> Piecewise | ScheduleError | None:
    """The schedule of a text, the error of a text that does not parse, or None for the preset's schedule."""
    if text is None or not text.strip():
        return None
    try:
        return patch_schedule(text) if name == "patch" else number_schedule(name, text)
    except ScheduleError as error:
        return error


def _drawn(name: str, found: Piecewise | ScheduleError | None, fields: PlanFields, preset: str) -> dict[str, Any]:
    """The outline of a schedule or of its error, for the page."""
    if isinstance(found, ScheduleError):
        return {**fault_outline(getattr(fields, name), found), "own": True}
    return {**schedule_outline(found or getattr(PRESETS[preset], name)), "own": found is not None}


def _raise_first_fault(schedules: dict[str, Piecewise | ScheduleError | None], preset: str | None) -> None:
    for found in schedules.values():
        if isinstance(found, ScheduleError):
            raise found
    if preset is not None and preset not in PRESETS:
        raise LuminaError(
            f"preset is '{preset}', which this version does not have; choose one of {', '.join(PRESETS)}.",
            field="preset",
            kind="value",
        )


def _plan(fields: PlanFields, schedules: dict[str, Any], preset: str) -> SamplingPlan:
    # Samplers of the host count as euler: most evaluate once per step, and none reports how often.
    solver = fields.solver if fields.solver in SOLVERS else "euler"
    names = ("points", "renorm", "time_shift", "times", "context_drop")
    plan = preset_plan(preset, solver=solver, **schedules, **{name: getattr(fields, name) for name in names})
    if plan.points > MOST_POINTS:
        raise LuminaError(
            f"times lists {plan.points} points; write at most {MOST_POINTS}.", field="times", kind="value"
        )
    return plan


def _size(fields: PlanFields, preset: str) -> LatentSize:
    """The latent size of the clip; values that the graph does not set are those of the preset."""
    size = preset_clip(preset).size
    width, height, frames = (
        getattr(size, name) if getattr(fields, name) is None else getattr(fields, name)
        for name in ("width", "height", "frames")
    )
    return latent_size(width, height, clip_frames(preset, frames, fields.seconds))


def _estimate(segments: list[dict], fields: PlanFields, config: VideoConfig) -> dict[str, Any] | None:
    """Estimated seconds of an outline's segments on this machine; None without past runs."""
    batch = fields.batch_size
    parts = [
        (Shape.of(s["patch"], s["tokens"], batch, s["guided"], s["flops"] / s["evaluations"]), s["evaluations"])
        for s in segments
    ]
    found = estimate(past_runs(device_name(), model_key(config), fields.weight_dtype), parts)
    if found is None:
        return None
    return {"seconds": found.seconds, "segments": list(found.parts), "runs": found.runs, "exact": found.exact}


def _model(name: str | None) -> tuple[VideoConfig, Bundle | None]:
    """Config and bundle of the model in the loader; the released model's config if it cannot be read yet."""
    if name is None:
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
        # A .pth has no header, and reading all of it would delay the page.
        return VideoConfig()
    return read_video_config(path)
