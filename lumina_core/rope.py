"""Rotary positions over several axes, from one small table per axis.

Letters: B batch, L tokens, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

Rotation = torch.Tensor
"""Unit complex numbers, complex64 (L, D / 2)."""
PART = 8192
"""Tokens that are widened to float32 at a time."""


def axis_angles(length: int, width: int, theta: float) -> torch.Tensor:
    """Angles (length, width / 2) in float64 for positions 0, 1, ... of one axis."""
    frequencies = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.outer(torch.arange(length, dtype=torch.float64), frequencies)


def rotation(
    lengths: Sequence[int], widths: Sequence[int], theta: float, device: torch.device | str = "cpu"
) -> Rotation:
    """The rotation of every position of a grid, last axis fastest.

    Args:
        lengths: positions along each axis, such as (frames, height, width) in patches.
        widths: part of the head width that each axis encodes; they add up to D.
        theta: base of the frequencies.

    Angles are float64 and rounded once to complex64, as in the official ``precompute_freqs_cis``; the tables of single
    axes are small, and the grid is made from them by broadcasting on ``device``.
    """
    parts = []
    for axis, (length, width) in enumerate(zip(lengths, widths, strict=True)):
        angles = axis_angles(length, width, theta)
        table = torch.complex(angles.cos().float(), angles.sin().float()).to(device)
        shape = [1] * len(lengths) + [width // 2]
        shape[axis] = length
        parts.append(table.view(shape).expand(*lengths, width // 2))
    return torch.cat(parts, -1).flatten(0, -2)


def rotate(x_BLHD: torch.Tensor, rope: Rotation) -> torch.Tensor:
    """Rotate neighbouring pairs (2i, 2i + 1) of each head, in float32; returns x's dtype.

    Where no gradient is asked for, x is overwritten, and a half-precision x is widened a part at a time.
    """
    if torch.compiler.is_compiling():
        return _rotate_real(x_BLHD, rope)
    if torch.is_grad_enabled():
        return _rotated(x_BLHD, rope)
    if x_BLHD.dtype == torch.float32:
        _pairs(x_BLHD).mul_(rope[:, None])
        return x_BLHD
    for part, turn in zip(x_BLHD.split(PART, 1), rope.split(PART), strict=True):
        part.copy_(_rotated(part, turn))
    return x_BLHD


def _rotated(x_BLHD: torch.Tensor, rope: Rotation) -> torch.Tensor:
    """One complex product, because the strides of the four real ones do not vectorise on a CPU."""
    return torch.view_as_real(_pairs(x_BLHD.float()) * rope[:, None]).flatten(-2).to(x_BLHD.dtype)


def _rotate_real(x_BLHD: torch.Tensor, rope: Rotation) -> torch.Tensor:
    """The same in real numbers, which torch.compile fuses with what stands before and behind."""
    cos, sin = torch.view_as_real(rope)[:, None].unbind(-1)
    even, odd = x_BLHD.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x_BLHD.dtype)


def _pairs(x_BLHD: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x_BLHD.unflatten(-1, (-1, 2)))
