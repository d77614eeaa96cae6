"""Inputs that several nodes share, and their checks when a prompt is queued."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..lumina_core.errors import LuminaError
from ..lumina_core.sampling.noise import MAX_SEED
from ..lumina_core.sampling.plan import SamplingPlan
from ..lumina_core.sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..lumina_core.shapes.latents import FRAME_BATCH, LatentSize, VideoSize, nearest_multiple
from ..lumina_core.shapes.resolutions import SIDE_MULTIPLE

GRAMMAR = "Grammar: first value | t: next value | ..., t from 0 (noise) to 1 (data)."
# Stands for an input without a link. A linked input is None while its value is not known.
ABSENT: Any = object()
DEFAULT_PLAN = PRESETS[DEFAULT_PRESET]
DEFAULT_SIZE = preset_clip(DEFAULT_PRESET).size


def patch_input(default: str = str(DEFAULT_PLAN.patch), note: str = "", **more) -> io.Input:
    """The input for a patch schedule; ``note`` begins its tooltip."""
    return io.String.Input(
        "patch",
        default=default,
        tooltip=f"{note}Patch size as a function of t, written frames x space: 2x4 is fastest, 1x2 gives the finest "
        f"detail. Use coarse patches first. {GRAMMAR}",
        **more,
    )


def guidance_input(default: str = str(DEFAULT_PLAN.guidance), note: str = "", **more) -> io.Input:
    """The input for a guidance schedule; ``note`` begins its tooltip."""
    return io.String.Input(
        "guidance",
        default=default,
        tooltip=f"{note}Guidance scale g as a function of t, typically 0 to 30. KSampler's cfg is g + 1. Higher "
        "follows the prompt more closely; 0 skips the negative forward pass, which halves the cost of a step. "
        f"{GRAMMAR}",
        **more,
    )


def motion_input(name: str, default: str, what: str, note: str = "", **more) -> io.Input:
    """The input for the motion schedule of the ``what`` (positive or negative) prompt; ``note`` begins its tooltip."""
    return io.String.Input(
        name,
        default=default,
        tooltip=f"{note}Motion score (mean optical flow) of the {what} prompt as a function of t, from about 0 "
        "(still) to 10 (fast); none sets no score. A larger gap between positive and negative gives more motion. "
        f"{GRAMMAR}",
        **more,
    )


def times_input(default: str, note: str, through: str, **more) -> io.Input:
    """The input for a timestep schedule; ``note`` begins its tooltip, and ``through`` ends it."""
    return io.String.Input(
        "times",
        default=default,
        optional=True,
        tooltip=f"{note}Timestep schedule: the t from 0 (noise) to 1 (data) at which the model is evaluated. Write "
        "rational (shaped by the time shift), linear, sigmoid (experimental), or a list such as 0, 0.1, 0.4, 1, "
        f"which also sets the number of points. After a name, {through}.",
        **more,
    )


def renorm_input(default: float = DEFAULT_PLAN.renorm, minimum: float = -1.0) -> io.Input:
    """The input for the bound on the guided velocity."""
    return io.Float.Input(
        "renorm",
        default=default,
        min=minimum,
        max=100.0,
        step=0.1,
        tooltip="Upper limit on the norm of the guided velocity, as a multiple of the norm of the positive "
        "velocity. Lower limits strong guidance more; typically 2, and 0 or less is off.",
    )


def size_inputs() -> list[io.Input]:
    """The inputs width, height and frames. The page rounds to min + n * step, so each min is a multiple of its step."""
    step = SIDE_MULTIPLE
    side = (
        f"In pixels, a multiple of {step}. Multiples of {step // 2} are allowed if no patch size of the schedule has "
        "space 4."
    )
    return [
        io.Int.Input("width", default=DEFAULT_SIZE.width, min=step, max=4096, step=step, tooltip=side),
        io.Int.Input("height", default=DEFAULT_SIZE.height, min=step, max=4096, step=step, tooltip=side),
        io.Int.Input(
            "frames",
            default=DEFAULT_SIZE.frames,
            min=0,
            max=512,
            step=4,
            tooltip="Number of frames, a multiple of 8; 0 or 1 makes an image. If every patch size of the schedule "
            "has 1 frame, other multiples of 4 also work but decode to 3 frames fewer. The released models were "
            "trained on up to 96 frames.",
        ),
    ]


def latent_size(width: int, height: int, frames: int) -> LatentSize:
    """The latent size of width and height in pixels and a number of frames. Raises LuminaError."""
    return VideoSize(width, height, max(1, frames)).latent()


def clip_frames(preset: str, frames: int, seconds: float) -> int:
    """``frames``, or where ``seconds`` is above 0 its number of frames at the preset's frame rate."""
    return nearest_multiple(seconds * preset_clip(preset).fps, FRAME_BATCH) if seconds > 0 else frames


def seed_input(what: str) -> io.Input:
    """The input for the seed of ``what``, with the host's control for the next run."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip=f"Random seed of {what}. The same seed and settings give the same result.",
    )


def check_one(title: str, images: object, video: object) -> None:
    """Raise LuminaError that names the node ``title`` unless exactly one of the two inputs is linked."""
    count = (images is not ABSENT) + (video is not ABSENT)
    if count != 1:
        found, verb = ("both", "are") if count else ("neither", "is")
        raise LuminaError(
            f"Connect either images or video to {title}; {found} of them {verb} connected.",
            field="images",
            kind="value",
        )


def first_fault(*checks: Callable[[], object]) -> bool | str:
    """The result of ``validate_inputs``: True, or the message of the first check that raises LuminaError."""
    for check in checks:
        try:
            check()
        except LuminaError as error:
            return str(error)
    return True


def plan_fault(**fields) -> bool | str:
    """Like `first_fault`, for fields of a plan; None is a linked input, whose value is not known yet."""
    known = {name: value for name, value in fields.items() if value is not None}
    return first_fault(lambda: SamplingPlan(**{"patch": "1x2", **known}))
