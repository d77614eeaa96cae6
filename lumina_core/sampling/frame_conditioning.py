"""Clips whose beginning is given: how long each latent frame keeps to what is given while the rest is sampled.

The network takes no picture as a condition. But what is known of a latent frame is known at every noise level:
t * given + (1 - t) * noise. Held to that alone, given frames hardly reach those behind them, and the clip jumps where
they end. So the frames behind are held as well, to a still of the last given one, and let go one after another while
the layout forms, the farthest first.
"""

from __future__ import annotations

from ..errors import LuminaError
from ..shapes.latents import VAE_FRAMES
from ..vae.codec import FRAME_BATCH

NEVER = 1.0
"""Release time of a frame that is given."""
_FALL = 2
"""Power by which the release times fall along the clip."""


def release_times(given: int, frames: int, hold: float) -> list[float]:
    """Flow time from which each latent frame is free: ``NEVER`` for the ``given`` first, then falling from ``hold``.

    hold: 0 to 1; at 0 only the given frames are held.
    """
    border = frames - given + 1
    return [NEVER] * given + [hold * (1 - place / border) ** _FALL for place in range(1, border)]


def given_latents(pictures: int, frames: int) -> int:
    """How many latent frames of a clip of ``frames`` frames are given by so many pictures.

    One picture is the first latent frame, as a still of 4 frames. Raises LuminaError for other numbers than 1 and
    multiples of 8, and where nothing is left to make.
    """
    if frames < 1 or frames % FRAME_BATCH:
        raise LuminaError(f"frames is {frames}; use a multiple of {FRAME_BATCH}.")
    if pictures != 1 and (pictures < 1 or pictures % FRAME_BATCH):
        raise LuminaError(
            f"There are {pictures} images; link one, or a multiple of {FRAME_BATCH} to go on from, such as the last "
            f"{FRAME_BATCH} frames of a clip."
        )
    if pictures >= frames:
        raise LuminaError(
            f"There are {pictures} images for a clip of {frames} frames, so nothing is left to make; raise frames or "
            "link fewer images."
        )
    return max(1, pictures // VAE_FRAMES)
