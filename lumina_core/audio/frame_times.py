"""Frames of a clip at another rate: the ones on the screen at even times."""

from __future__ import annotations

import math

import torch

from ..errors import LuminaError
from ..shapes.frame_rate import check_fps

_EPS = 1e-6
"""Seconds. A frame that begins when it is looked for is the one that is seen, in spite of rounding."""


def pick(count: int, fps: float, rate: float, seconds: float) -> torch.Tensor:
    """Indices (n,) of the frames shown at 0, 1/rate, 2/rate, ... of a clip of ``count`` frames at ``fps``.

    n = seconds * rate, rounded. Times behind the last frame show it on. Raises LuminaError.
    """
    check_fps(fps)
    if count < 1:
        raise LuminaError("The clip has no frames; give at least one.")
    if not (math.isfinite(seconds) and round(seconds * rate) >= 1):
        raise LuminaError(f"A length of {seconds} s has no frame at {rate:g} frames a second; give a longer clip.")
    times = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return ((times + _EPS) * fps).floor().long().clamp(max=count - 1)


def check_frames(frames: torch.Tensor, fewest: int = 2) -> None:
    """Raise LuminaError unless frames are ``fewest`` or more, (n, H, W, 3) finite floats."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.is_floating_point() or 0 in frames.shape[1:]:
        raise LuminaError(
            f"The frames are {str(frames.dtype).removeprefix('torch.')} of shape {tuple(frames.shape)}, "
            "expected float (frames, height, width, 3) in 0..1."
        )
    if len(frames) < fewest:
        raise LuminaError(
            f"The clip has {len(frames)} frame{'s' * (len(frames) != 1)}, and a sound needs something that moves; give "
            f"{fewest} or more."
        )
    if not bool(torch.isfinite(frames.sum(dtype=torch.float64))):
        raise LuminaError("The frames hold values that are not finite, expected 0..1; decode them again.")
