"""The starting noise of a run, drawn from a seed, and data with noise added."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import LuminaError

# The largest seed that torch's generators take.
MAX_SEED = 2**64 - 1


def seeded_noise(shape: Sequence[int], seed: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Gaussian noise that depends on the seed, the kind of device and, on CUDA, the dtype.

    On CUDA it is drawn there in ``dtype``, which gives the noise of the official generate.py. On other devices it is
    drawn on the CPU in float32 and then rounded: CUDA's generator cannot be reproduced there, but all dtypes start from
    the same noise.

    Args:
        shape: such as (1, 16, F, H, W).
        seed: 0 to 2**64 - 1.
        device, dtype: of the result.

    Raises:
        LuminaError: the seed is out of range.
    """
    if not 0 <= seed <= MAX_SEED:
        raise LuminaError(f"seed is {seed}; write a whole number from 0 to {MAX_SEED}.", field="seed", kind="value")
    if device.type == "cuda":
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device, dtype)


def noised(data: torch.Tensor, noise: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
    """``t data + (1 - t) noise``: the state at timestep ``t``, 0 (noise) to 1 (data).

    Args:
        data, noise: (B, ...).
        t: one timestep, or (B,) timesteps.
    """
    if isinstance(t, torch.Tensor) and t.ndim:
        t = t.view(-1, *[1] * (data.ndim - 1))
    return t * data + (1 - t) * noise
