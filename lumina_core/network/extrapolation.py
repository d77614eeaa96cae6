"""What a size beyond the trained one changes in a network: its rotary frequencies, and the scores of attention."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from ..errors import LuminaError
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize
from .audio_config import AudioConfig
from .config import VideoConfig
from .forward_options import NetworkOptions
from .rope_scaling import AUTO, OFF, RopeScaling, scaled

RELEASED_POSITIONS = (64, 128, 128)
"""Patch positions along frames, height and width in the official table."""


def trained_size(config: VideoConfig, options: NetworkOptions) -> LatentSize | None:
    """The size that positions and tokens are compared with; None where nothing is known.

    Raises LuminaError where the options need one that the checkpoint does not say.
    """
    trained = options.train_size or config.train_size
    if trained is None and (options.proportional or options.rope not in (AUTO, OFF)):
        what = "proportional attention" if options.rope in (AUTO, OFF) else f"rope {options.rope}"
        raise LuminaError(
            f"This checkpoint does not say what size it was trained on, which {what} needs; give the size, "
            f"or choose rope {AUTO} without proportional attention."
        )
    return trained


def video_factors(size: LatentSize, trained: LatentSize) -> tuple[float, float, float]:
    """New over trained length of frames, height and width.

    Both sides of a picture have the root of the areas' ratio, so that other shapes of the trained area are met as
    trained.
    """
    side = math.sqrt(size.height * size.width / (trained.height * trained.width))
    return size.frames / trained.frames, side, side


def video_scaling(
    config: VideoConfig, size: LatentSize, patch: PatchSize, options: NetworkOptions, t: torch.Tensor
) -> tuple[RopeScaling | None, ...]:
    """``scaled`` for video latents of one size at flow times t (B,)."""
    trained = trained_size(config, options)
    if trained is None or options.rope == OFF or not exceeds(size, trained):
        return (None,)
    side = math.sqrt(trained.height * trained.width) / patch.space
    lengths = (trained.grid(patch)[0], side, side)
    return scaled(options.rope, video_factors(size, trained), lengths, t.tolist())


def audio_scaling(config: AudioConfig, rows: int, t: torch.Tensor) -> tuple[RopeScaling | None, ...]:
    """``scaled`` for sound latents of so many rows at flow times t (B,): along time; the bins are always the same."""
    if config.train_rows is None or rows <= config.train_rows:
        return (None,)
    lengths = (config.train_rows // config.patch[0], config.bins // config.patch[1])
    return scaled(AUTO, (rows / config.train_rows, 1.0), lengths, t.tolist())


def exceeds(size: LatentSize, trained: LatentSize) -> bool:
    """Whether a size is longer or of larger pictures than the trained one."""
    return max(video_factors(size, trained)) > 1


def proportional_scale(config: VideoConfig, size: LatentSize, patch: PatchSize, options: NetworkOptions) -> float:
    """Factor on the scores of self-attention, sqrt(log_base(N)): N tokens, base those of the trained size; 1 where off.

    Lumina-Next's code: scores are divided by sqrt(head_dim / log_base(N)), so that as many tokens count as before.
    """
    trained = trained_size(config, options) if options.proportional else None
    if trained is None:
        return 1.0
    base = max(2, trained.tokens(patch))
    return math.sqrt(math.log(size.tokens(patch), base))


def size_warning(
    config: VideoConfig, size: LatentSize, patches: Iterable[PatchSize], options: NetworkOptions
) -> str | None:
    """A sentence where a run goes on counting positions beyond what the network has seen; None where it does not.

    Raises LuminaError as ``trained_size`` does.
    """
    trained = trained_size(config, options)
    if trained is not None:
        if options.rope != OFF or not exceeds(size, trained):
            return None
        return (
            f"The clip is {size.in_pixels}, more than this checkpoint was trained on ({trained.in_pixels}), and rope "
            f"is off, so the picture may repeat itself; rope {AUTO} scales the positions."
        )
    grids = [size.grid(patch) for patch in patches]
    if not any(found > held for grid in grids for found, held in zip(grid, RELEASED_POSITIONS, strict=True)):
        return None
    return (
        f"The clip is {size.in_pixels}, beyond the {' x '.join(map(str, RELEASED_POSITIONS))} positions of the "
        "released models, and this checkpoint does not say what size it was trained on, so the picture may repeat "
        "itself; give the size, if it is known, and choose how rope scales the positions."
    )
