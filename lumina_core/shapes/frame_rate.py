"""Frames per second: the one check of them."""

from __future__ import annotations

import math

from ..errors import LuminaError

# Largest rate that is taken for a video's; beyond it a value is a slip, such as milliseconds in place of a rate.
MAX_FPS = 1000.0


def check_fps(fps: object) -> float:
    """``fps`` as a float, if it is a number above 0 and up to ``MAX_FPS``. Raises LuminaError."""
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not (math.isfinite(fps) and 0 < fps <= MAX_FPS):
        raise LuminaError(
            f"fps is {fps!r}; write the clip's frames per second, a number above 0 and up to {MAX_FPS:g}.",
            field="fps",
            kind="value",
        )
    return float(fps)
