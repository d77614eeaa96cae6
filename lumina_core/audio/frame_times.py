"""Resamples a clip to another frame rate by repeating and dropping frames."""

from __future__ import annotations

import math

import torch

from ..errors import LuminaError
from ..shapes.frame_rate import check_fps

# Seconds added to each time, so that rounding does not select the frame before one that starts exactly then.
_EPS = 1e-6


def frame_indices(count: int, fps: float, rate: float, seconds: float) -> torch.Tensor:
    """Indices (n,) int64 of the frames displayed at times 0, 1/rate, 2/rate, ... with n = round(seconds * rate).

    Args:
        count: frames of the clip, 1 or more.
        fps: frames per second of the clip.
        rate: frames per second of the result.
        seconds: duration of the result. After the last frame, that frame is repeated.

    Raises:
        LuminaError: fps is out of range, the clip is empty, or the result would be.
    """
    check_fps(fps)
    if count < 1:
        raise LuminaError("The clip has no frames; give at least one.", field="frames", kind="value")
    if not (math.isfinite(seconds) and round(seconds * rate) >= 1):
        raise LuminaError(
            f"A duration of {seconds} s has no frame at {rate:g} fps; give a longer clip.",
            field="seconds",
            kind="value",
        )
    times = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return ((times + _EPS) * fps).floor().long().clamp(max=count - 1)


def check_frames(frames: torch.Tensor, minimum: int = 2) -> None:
    """Raise LuminaError unless frames are (n, H, W, 3) finite floats with n of at least ``minimum``."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.is_floating_point() or 0 in frames.shape[1:]:
        raise LuminaError(
            f"The frames are {str(frames.dtype).removeprefix('torch.')} of shape {tuple(frames.shape)}, "
            "expected float (frames, height, width, 3) in 0..1.",
            field="frames",
            kind="value",
        )
    if len(frames) < minimum:
        raise LuminaError(
            f"The clip has {len(frames)} frame{'s' * (len(frames) != 1)}, and audio needs motion; give {minimum} or "
            "more.",
            field="frames",
            kind="value",
        )
    if not bool(torch.isfinite(frames.sum(dtype=torch.float64))):
        raise LuminaError(
            "The frames contain NaN or infinite values, expected 0..1; decode them again.",
            field="frames",
            kind="numerics",
        )
