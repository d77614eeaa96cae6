"""Rotary position embedding (RoPE) over several axes, from one small table per axis.

Letters: B batch, L tokens, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch

from .rope_scaling import RopeScaling

# Rotary table: unit complex numbers, complex64 (L, D / 2), or (B, L, D / 2) if the samples of a batch differ.
FreqsCis: TypeAlias = torch.Tensor


def axis_angles(length: int, width: int, theta: float, divisors: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Angles (length, width / 2), float64, of positions 0, 1, ... of an axis; ``divisors`` divide the frequencies."""
    frequencies = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float64) / width) / divisors
    return torch.outer(torch.arange(length, dtype=torch.float64), frequencies)


def grid_angles(
    lengths: Sequence[int], widths: Sequence[int], theta: float, scaling: RopeScaling | None = None
) -> list[torch.Tensor]:
    """``axis_angles`` of every axis of a grid, scaled or as in training (``scaling`` None)."""
    return [
        axis_angles(length, width, theta, 1.0 if scaling is None else scaling.divisors(axis, width, theta))
        for axis, (length, width) in enumerate(zip(lengths, widths, strict=True))
    ]


def freqs_cis(
    lengths: Sequence[int],
    widths: Sequence[int],
    theta: float,
    device: torch.device | str = "cpu",
    scalings: Sequence[RopeScaling | None] = (None,),
) -> FreqsCis:
    """The rotary table of a grid, complex64 (L, D / 2); the last axis is the fastest.

    Args:
        lengths: positions along each axis, such as (frames, height, width) in patches.
        widths: part of the head width that encodes each axis; they add up to D.
        theta: base of the frequencies.
        device: of the result.
        scalings: one for the whole batch, or one for each of B samples; then the result is (B, L, D / 2).
    """
    tables = [grid_freqs_cis(grid_angles(lengths, widths, theta, scaling), device) for scaling in scalings]
    return tables[0] if len(tables) == 1 else torch.stack(tables)


def grid_freqs_cis(angles: Sequence[torch.Tensor], device: torch.device | str = "cpu") -> FreqsCis:
    """The rotary table of a grid with these ``angles`` along each axis, each (length, width / 2) float64.

    Angles are rounded once to complex64, as in the official ``precompute_freqs_cis``. The tables of single axes are
    small, and are broadcast to the grid on ``device``.
    """
    lengths = [len(table) for table in angles]
    parts = []
    for axis, table in enumerate(angles):
        shape = [1] * len(lengths) + [table.shape[1]]
        shape[axis] = len(table)
        freqs = torch.complex(table.cos().float(), table.sin().float()).to(device)
        parts.append(freqs.view(shape).expand(*lengths, table.shape[1]))
    return torch.cat(parts, -1).flatten(0, -2)


def interleave(freqs: FreqsCis, axes: int) -> FreqsCis:
    """Interleave axes of equal width that follow one another: h0, w0, h1, w1, ..."""
    return freqs.unflatten(-1, (axes, -1)).transpose(-1, -2).flatten(-2)


def rotate(x_BLHD: torch.Tensor, freqs: FreqsCis) -> torch.Tensor:
    """Rotate neighboring pairs (2i, 2i + 1) of each head by ``freqs``, in float32; returns x's dtype."""
    if torch.compiler.is_compiling():
        return _rotate_real(x_BLHD, freqs)
    # One complex product, because four real ones with stride 2 do not vectorize on a CPU.
    rotated = as_complex_pairs(x_BLHD.float()) * freqs.unsqueeze(-2)
    return torch.view_as_real(rotated).flatten(-2).to(x_BLHD.dtype)


def as_complex_pairs(x_BLHD: torch.Tensor) -> torch.Tensor:
    """A view of float32 (B, L, H, D) as complex64 (B, L, H, D / 2)."""
    return torch.view_as_complex(x_BLHD.unflatten(-1, (-1, 2)))


def _rotate_real(x_BLHD: torch.Tensor, freqs: FreqsCis) -> torch.Tensor:
    """The same in real arithmetic, which torch.compile fuses with its neighbors."""
    cos, sin = torch.view_as_real(freqs.unsqueeze(-2)).unbind(-1)
    even, odd = x_BLHD.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x_BLHD.dtype)
