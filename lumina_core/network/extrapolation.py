"""Adapts a network to sizes beyond the trained one: RoPE scaling, and the scale of attention scores."""

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

# Patch positions along frames, height and width in the official rotary table.
RELEASED_POSITIONS = (64, 128, 128)


def trained_size(config: VideoConfig, options: NetworkOptions) -> LatentSize | None:
    """The trained size by the options, else by the checkpoint; None if it is not known.

    Raises:
        LuminaError: the options need the trained size and it is not known.
    """
    trained = options.train_size or config.train_size
    if trained is None and (options.proportional or options.rope not in (AUTO, OFF)):
        what = "proportional attention" if options.rope in (AUTO, OFF) else f"rope {options.rope}"
        raise LuminaError(
            f"This checkpoint does not say what size it was trained on, which {what} needs; give the size, "
            f"or choose rope {AUTO} without proportional attention.",
            field="train_size",
            kind="missing",
        )
    return trained


def video_factors(size: LatentSize, trained: LatentSize) -> tuple[float, float, float]:
    """Ratios of the new to the trained size along frames, height and width.

    Height and width both have the square root of the ratio of areas, so that other aspect ratios of the trained area
    are not scaled.
    """
    side = math.sqrt(size.height * size.width / (trained.height * trained.width))
    return size.frames / trained.frames, side, side


def video_scaling(
    config: VideoConfig, size: LatentSize, patch: PatchSize, options: NetworkOptions, t: torch.Tensor
) -> tuple[RopeScaling | None, ...]:
    """RoPE scaling for video latents of one size at timesteps t (B,); see ``rope_scaling.scaled``."""
    trained = trained_size(config, options)
    if trained is None or options.rope == OFF or not exceeds(size, trained):
        return (None,)
    side = math.sqrt(trained.height * trained.width) / patch.space
    lengths = (trained.grid(patch)[0], side, side)
    return scaled(options.rope, video_factors(size, trained), lengths, t.tolist())


def audio_scaling(config: AudioConfig, rows: int, t: torch.Tensor) -> tuple[RopeScaling | None, ...]:
    """RoPE scaling along time for audio latents of ``rows`` rows at timesteps t (B,); see ``rope_scaling.scaled``."""
    if config.train_rows is None or rows <= config.train_rows:
        return (None,)
    lengths = (config.train_rows // config.patch[0], config.bins // config.patch[1])
    return scaled(AUTO, (rows / config.train_rows, 1.0), lengths, t.tolist())


def exceeds(size: LatentSize, trained: LatentSize) -> bool:
    """Whether a size has more frames or a larger area than the trained one."""
    return max(video_factors(size, trained)) > 1


def proportional_scale(config: VideoConfig, size: LatentSize, patch: PatchSize, options: NetworkOptions) -> float:
    """Factor on the scores of self-attention: sqrt(log_T(N)) for N tokens, of which the trained size has T; 1 if off.

    As in Lumina-Next's code, which divides scores by sqrt(head_dim / log_T(N)). It keeps the entropy of attention, so
    that a token attends to about as many others as in training.
    """
    trained = trained_size(config, options) if options.proportional else None
    if trained is None:
        return 1.0
    base = max(2, trained.tokens(patch))
    return math.sqrt(math.log(size.tokens(patch), base))


def size_warning(
    config: VideoConfig, size: LatentSize, patches: Iterable[PatchSize], options: NetworkOptions
) -> str | None:
    """A warning if a run uses unscaled positions beyond those of training, else None.

    Args:
        config: of the network.
        size: of the latents.
        patches: patch sizes of the plan.
        options: of the run.

    Raises:
        LuminaError: see ``trained_size``.
    """
    trained = trained_size(config, options)
    if trained is not None:
        if options.rope != OFF or not exceeds(size, trained):
            return None
        return (
            f"The clip is {size.in_pixels}, more than this checkpoint was trained on ({trained.in_pixels}), and rope "
            f"is off, so content may repeat itself; use rope {AUTO}, which scales the positions."
        )
    grids = [size.grid(patch) for patch in patches]
    if not any(length > limit for grid in grids for length, limit in zip(grid, RELEASED_POSITIONS, strict=True)):
        return None
    return (
        f"The clip is {size.in_pixels}, beyond the {' x '.join(map(str, RELEASED_POSITIONS))} positions of the "
        "released models, and this checkpoint does not say what size it was trained on, so content may repeat "
        "itself; give the size, if it is known, and choose how rope scales the positions."
    )
