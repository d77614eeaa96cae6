"""Aligns Synchformer's features with the time axis of the audio latents.

Each of a segment's 8 features covers a slot of 80 ms. Segments start every 4 slots, so that feature k of segment i
belongs to slot 4i + k, and most slots are covered by two segments. MMAudio concatenates the segments instead, which
moves features by up to 0.29 s from the time that they were computed for, and jumps back in time at segment boundaries.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from ..shapes.audio_rates import LATENT_FRAMES_PER_SLOT, SLOT_STRIDE, SLOTS

# Values of the checkpoint's `sync_align`.
ALIGN_SLOTS, ALIGN_MMAUDIO = "slots", "mmaudio"
ALIGNMENTS = (ALIGN_SLOTS, ALIGN_MMAUDIO)


def slots(features: torch.Tensor) -> torch.Tensor:
    """Features (B, 4S + 4, D), one per slot, of segments (B, S, 8, D); overlapping segments are averaged.

    Raises LuminaError for another shape.
    """
    _check(features)
    early, late = features.split(SLOT_STRIDE, dim=2)
    early, late = early.flatten(1, 2), late.flatten(1, 2)
    # The first half of a segment overlaps the second half of the previous one.
    both = (early[:, SLOT_STRIDE:] + late[:, :-SLOT_STRIDE]) / 2
    return torch.cat([early[:, :SLOT_STRIDE], both, late[:, -SLOT_STRIDE:]], dim=1)


def to_latent_rate(features: torch.Tensor, length: int, align: str = ALIGN_SLOTS) -> torch.Tensor:
    """Features (B, length, D), one per latent frame of 40 ms.

    Args:
        features: (B, S, 8, D).
        length: latent frames, 1 or more.
        align: ``slots`` repeats each slot for its latent frames, repeats the last slot after the end, and drops slots
            beyond ``length``. ``mmaudio`` stretches the concatenated segments to ``length`` with nearest-neighbor
            interpolation.

    Raises:
        LuminaError: another shape, length or alignment.
    """
    if length < 1:
        raise LuminaError(
            f"The sync features are requested for {length} latent frames; expected 1 or more.",
            field="length",
            kind="value",
        )
    _check(features)
    if align == ALIGN_MMAUDIO:
        return F.interpolate(features.flatten(1, 2).transpose(1, 2), length, mode="nearest-exact").transpose(1, 2)
    if align != ALIGN_SLOTS:
        raise LuminaError(
            f"sync_align is '{align}'; write {' or '.join(ALIGNMENTS)}.", field="sync_align", kind="value"
        )
    grid = slots(features)
    at = (torch.arange(length, device=grid.device) // LATENT_FRAMES_PER_SLOT).clamp(max=grid.shape[1] - 1)
    return grid[:, at]


def _check(features: torch.Tensor) -> None:
    if features.ndim != 4 or features.shape[2] != SLOTS or not features.shape[1]:
        raise LuminaError(
            f"The sync features have shape {tuple(features.shape)}, expected (clips, segments, {SLOTS}, width) with "
            "at least one segment.",
            field="sync",
            kind="value",
        )
