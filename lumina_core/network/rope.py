"""Rotary positions over several axes, from one small table per axis.

Letters: B batch, L tokens, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .rope_scaling import RopeScaling

Rotation = torch.Tensor
"""Unit complex numbers, complex64 (L, D / 2), or (B, L, D / 2) where the items of a batch differ."""
PART = 8192
"""Tokens that are widened to float32 at a time."""


def axis_angles(length: int, width: int, theta: float, divisors: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Angles (length, width / 2) in float64 for positions 0, 1, ... of one axis, its frequencies over ``divisors``."""
    frequencies = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float64) / width) / divisors
    return torch.outer(torch.arange(length, dtype=torch.float64), frequencies)


def grid_angles(
    lengths: Sequence[int], widths: Sequence[int], theta: float, scaling: RopeScaling | None = None
) -> list[torch.Tensor]:
    """``axis_angles`` of every axis of a grid, scaled or as trained."""
    return [
        axis_angles(length, width, theta, 1.0 if scaling is None else scaling.divisors(axis, width, theta))
        for axis, (length, width) in enumerate(zip(lengths, widths, strict=True))
    ]


def rotation(
    lengths: Sequence[int],
    widths: Sequence[int],
    theta: float,
    device: torch.device | str = "cpu",
    scalings: Sequence[RopeScaling | None] = (None,),
) -> Rotation:
    """The rotation of every position of a grid, last axis fastest.

    Args:
        lengths: positions along each axis, such as (frames, height, width) in patches.
        widths: part of the head width that each axis encodes; they add up to D.
        theta: base of the frequencies.
        scalings: of all items of a batch, or one for each of B; then the result is (B, L, D / 2).
    """
    tables = [grid_rotation(grid_angles(lengths, widths, theta, scaling), device) for scaling in scalings]
    return tables[0] if len(tables) == 1 else torch.stack(tables)


def grid_rotation(angles: Sequence[torch.Tensor], device: torch.device | str = "cpu") -> Rotation:
    """The rotation of every position of a grid whose axes turn by ``angles``, each (length, width / 2).

    Angles are float64 and rounded once to complex64, as in the official ``precompute_freqs_cis``; the tables of single
    axes are small, and the grid is made from them by broadcasting on ``device``.
    """
    lengths = [len(table) for table in angles]
    parts = []
    for axis, table in enumerate(angles):
        shape = [1] * len(lengths) + [table.shape[1]]
        shape[axis] = len(table)
        turns = torch.complex(table.cos().float(), table.sin().float()).to(device)
        parts.append(turns.view(shape).expand(*lengths, table.shape[1]))
    return torch.cat(parts, -1).flatten(0, -2)


def interleave(rope: Rotation, axes: int) -> Rotation:
    """The axes of a head, equally wide and one behind the other, put in turn: h0, w0, h1, w1, ..."""
    return rope.unflatten(-1, (axes, -1)).transpose(-1, -2).flatten(-2)


def rotate(x_BLHD: torch.Tensor, rope: Rotation) -> torch.Tensor:
    """Rotate neighbouring pairs (2i, 2i + 1) of each head, in float32; returns x's dtype.

    Where no gradient is asked for, x is overwritten, and a half-precision x is widened a part at a time.
    """
    if torch.compiler.is_compiling():
        return _rotate_real(x_BLHD, rope)
    if torch.is_grad_enabled():
        return _rotated(x_BLHD, rope)
    if x_BLHD.dtype == torch.float32:
        _pairs(x_BLHD).mul_(rope.unsqueeze(-2))
        return x_BLHD
    for part, turn in zip(x_BLHD.split(PART, 1), rope.split(PART, -2), strict=True):
        part.copy_(_rotated(part, turn))
    return x_BLHD


def _rotated(x_BLHD: torch.Tensor, rope: Rotation) -> torch.Tensor:
    """One complex product, because the strides of the four real ones do not vectorise on a CPU."""
    return torch.view_as_real(_pairs(x_BLHD.float()) * rope.unsqueeze(-2)).flatten(-2).to(x_BLHD.dtype)


def _rotate_real(x_BLHD: torch.Tensor, rope: Rotation) -> torch.Tensor:
    """The same in real numbers, which torch.compile fuses with what stands before and behind."""
    cos, sin = torch.view_as_real(rope.unsqueeze(-2)).unbind(-1)
    even, odd = x_BLHD.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x_BLHD.dtype)


def _pairs(x_BLHD: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x_BLHD.unflatten(-1, (-1, 2)))
