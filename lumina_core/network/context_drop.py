"""Context Drop: early in a run the first layers read pooled keys and values, a quarter as many.

From the Lumina-Next paper (arXiv 2406.18583), second-hand: no code of it is public, and of the paper we had summaries
only, which tell what is pooled and that the share of layers falls from all at t = 0 to none at t = 1. The rest is ours.

Queries stay as they are. Keys (after their norm) and values are averaged over cells of 2 x 2 patches of one frame;
where a side is odd, the cells at its end average what there is. Keys are pooled before they are rotated and then stand
at the mean position of their cell: averages of rotated keys would lose the high frequencies. Keys of the text stay as
they are.

Of N layers the first ``round(N * (1 - t / until))`` drop at flow time t: all of them at t = 0 (noise), none from
``until`` on. ``until`` 1 is the paper's rule, 0 turns it off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .rope import FreqsCis, grid_angles, grid_freqs_cis
from .rope_scaling import RopeScaling

# Patches along each side of a cell.
SIDE = 2
# What benchmarks/context_drop.py finds to lose at most 1 point of accuracy and 5 % of motion.
RECOMMENDED = 0.1


def dropped_layers(t: float, until: float, layers: int) -> int:
    """How many of the first of ``layers`` read pooled keys at flow time ``t``."""
    return round(layers * max(0.0, 1 - t / until)) if until else 0


def pooled_grid(grid: Sequence[int]) -> tuple[int, int, int]:
    """Cells along frames, height and width of a grid of patches."""
    frames, height, width = grid
    return frames, -(-height // SIDE), -(-width // SIDE)


@dataclass(frozen=True)
class KeyPool:
    """Called with (B, L, D) of all patches it returns (B, L', D) of the cells.

    Args:
        grid: patches along frames, height and width; L is their product.
        freqs: the rotation of the cells' mean positions, (L', D / 2), or (B, L', D / 2) where samples differ.
    """

    grid: tuple[int, int, int]
    freqs: FreqsCis

    def __call__(self, x_BLD: torch.Tensor) -> torch.Tensor:
        # Frames become samples, and what torch calls channels comes last in memory: nothing is copied.
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
    """The rotation of the cells of a grid, each at its mean position; for the arguments see ``rope.freqs_cis``."""
    tables = []
    for scaling in scalings:
        frames, height, width = grid_angles(grid, widths, theta, scaling)
        tables.append(grid_freqs_cis([frames, _means(height), _means(width)], device))
    return tables[0] if len(tables) == 1 else torch.stack(tables)


def _means(angles: torch.Tensor) -> torch.Tensor:
    """Of mean positions, as angles grow in equal steps with the position, however they are scaled."""
    return torch.stack([part.mean(0) for part in angles.split(SIDE)])
