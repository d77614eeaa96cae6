"""The starting noise of a run, from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import LuminaError

MAX_SEED = 2**64 - 1


def seeded_noise(shape: Sequence[int], seed: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Noise of ``shape``, such as (1, 16, F, H, W); the same for one seed, kind of device and dtype.

    On CUDA it is drawn there in ``dtype``, which gives the official noise (official generate.py). Elsewhere it is
    drawn on the CPU in float32 and then rounded: CUDA's generator cannot be matched, but all dtypes start alike.
    Raises LuminaError for a seed outside 0..2**64 - 1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise LuminaError(f"seed is {seed}; write a whole number from 0 to {MAX_SEED}.")
    if device.type == "cuda":
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device, dtype)
