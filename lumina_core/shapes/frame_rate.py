"""Checks frame rates."""

from __future__ import annotations

import math

from ..errors import LuminaError

# Upper bound that catches mistakes, such as milliseconds in place of a rate.
MAX_FPS = 1000.0


def check_fps(fps: object) -> float:
    """Return ``fps`` as a float. Raises LuminaError unless it is a number above 0 and up to ``MAX_FPS``."""
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not (math.isfinite(fps) and 0 < fps <= MAX_FPS):
        raise LuminaError(
            f"fps is {fps!r}; write the clip's frames per second, a number above 0 and up to {MAX_FPS:g}.",
            field="fps",
            kind="value",
        )
    return float(fps)
