"""Context Drop: early in a run, the first layers use pooled keys and values, a quarter as many.

From the Lumina-Next paper (arXiv 2406.18583). No code of it is public, and we had only summaries of the paper, which
state what is pooled, and that the fraction of layers falls from all at t = 0 to none at t = 1. The rest is our choice.

Queries are not pooled. Keys (after their norm) and values are averaged over cells of 2 x 2 patches of one frame; where
a side is odd, the last cells average fewer patches. Keys are pooled before RoPE and then rotated to the mean position
of their cell, because averages of rotated keys would lose the high frequencies. Keys of the text are not pooled.

Of N layers, the first ``round(N * (1 - t / until))`` drop at timestep t: all at t = 0 (noise), none from ``until`` on.
``until`` 1 is the paper's rule, and 0 turns Context Drop off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .rope import FreqsCis, grid_angles, grid_freqs_cis
from .rope_scaling import RopeScaling

# Side of a cell in patches.
SIDE = 2
# Loses at most 1 point of accuracy and 5 % of motion in benchmarks/context_drop.py.
RECOMMENDED = 0.1


def dropped_layers(t: float, until: float, layers: int) -> int:
    """Number of layers, counted from the first, that use pooled keys at timestep ``t`` (0 to 1)."""
    return round(layers * max(0.0, 1 - t / until)) if until else 0


def pooled_grid(grid: Sequence[int]) -> tuple[int, int, int]:
    """Cells along frames, height and width for a grid of patches."""
    frames, height, width = grid
    return frames, -(-height // SIDE), -(-width // SIDE)


@dataclass(frozen=True)
class KeyPool:
    """Averages tokens (B, L, D) over cells: (B, L', D).

    Args:
        grid: patches along frames, height and width; L is their product.
        freqs: rotary table of the cells' mean positions, (L', D / 2), or (B, L', D / 2) if samples differ.
    """

    grid: tuple[int, int, int]
    freqs: FreqsCis

    def __call__(self, x_BLD: torch.Tensor) -> torch.Tensor:
        """The mean of every cell, (B, L', D)."""
        # Frames are pooled as samples in torch's channels-last memory format, so that nothing is copied.
        frames = x_BLD.unflatten(1, self.grid).flatten(0, 1).movedim(-1, 1)
        cells = F.avg_pool2d(frames, SIDE, ceil_mode=True, count_include_pad=False)
        return cells.movedim(1, -1).reshape(len(x_BLD), -1, x_BLD.shape[-1])


def pooled_freqs_cis(
    grid: Sequence[int],
    widths: Sequence[int],
    theta: float,
    device: torch.device | str = "cpu",
    scalings: Sequence[RopeScaling | None] = (None,),
) -> FreqsCis:
    """The rotary table of the cells of a grid at their mean positions; for the arguments see ``rope.freqs_cis``."""
    tables = []
    for scaling in scalings:
        frames, height, width = grid_angles(grid, widths, theta, scaling)
        tables.append(grid_freqs_cis([frames, _means(height), _means(width)], device))
    return tables[0] if len(tables) == 1 else torch.stack(tables)


def _means(angles: torch.Tensor) -> torch.Tensor:
    """Angles of the mean positions, which are the mean angles, because angles are linear in the position."""
    return torch.stack([part.mean(0) for part in angles.split(SIDE)])
