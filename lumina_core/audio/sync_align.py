"""Where in time Synchformer's features belong.

A segment's 8 features last 80 ms each. Segments begin every 4 features, so that feature k of segment i sits at slot
4i + k of one even grid of 80 ms, and most slots are seen by two segments. Laid end to end instead, as MMAudio takes
them, the features jump back in time at every segment's edge, by up to 0.29 s from where they were seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from .synchformer import SLOTS, STRIDE, TUBE

STEP = STRIDE // TUBE
"""Slots from one segment's start to the next."""
SLOT_SECONDS = 0.08
ROWS_PER_SLOT = 2
"""Latent rows of 40 ms in a slot."""
ALIGN_SLOTS, ALIGN_MMAUDIO = "slots", "mmaudio"
ALIGNMENTS = (ALIGN_SLOTS, ALIGN_MMAUDIO)


def slots(features: torch.Tensor) -> torch.Tensor:
    """Features (B, S, 8, D) on the even grid of 80 ms, the mean where segments overlap: (B, 4S + 4, D)."""
    _check(features)
    early, late = features.split(STEP, dim=2)
    early, late = early.flatten(1, 2), late.flatten(1, 2)
    # The first half of a segment lies on the second half of the one before it.
    both = (early[:, STEP:] + late[:, :-STEP]) / 2
    return torch.cat([early[:, :STEP], both, late[:, -STEP:]], dim=1)


def to_rows(features: torch.Tensor, rows: int, align: str = ALIGN_SLOTS) -> torch.Tensor:
    """Features (B, S, 8, D) at the rate of latent rows: (B, rows, D), row r from r to r + 1 times 40 ms.

    align: ``slots`` repeats every slot of the even grid; rows behind the last one repeat it, and slots behind the last
    row are cut off. ``mmaudio`` stretches the features, laid end to end, over the rows (nearest neighbour).
    Raises LuminaError.
    """
    if rows < 1:
        raise LuminaError(f"{rows} rows are asked of the sync features; expected 1 or more.")
    _check(features)
    if align == ALIGN_MMAUDIO:
        return F.interpolate(features.flatten(1, 2).transpose(1, 2), rows, mode="nearest-exact").transpose(1, 2)
    if align != ALIGN_SLOTS:
        raise LuminaError(f"The sync features' alignment is '{align}'; write {' or '.join(ALIGNMENTS)}.")
    grid = slots(features)
    at = (torch.arange(rows, device=grid.device) // ROWS_PER_SLOT).clamp(max=grid.shape[1] - 1)
    return grid[:, at]


def _check(features: torch.Tensor) -> None:
    if features.ndim != 4 or features.shape[2] != SLOTS or not features.shape[1]:
        raise LuminaError(
            f"The sync features have shape {tuple(features.shape)}, expected (clips, segments, {SLOTS}, width) with at "
            "least one segment."
        )
