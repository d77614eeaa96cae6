"""Rotary positions over several axes, from one small table per axis.

Letters: B batch, L tokens, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

Rotation = torch.Tensor
"""Unit complex numbers, complex64 (L, D / 2)."""


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

    One complex product, because the strides of the four real ones do not vectorise on a CPU.
    """
    pairs = torch.view_as_complex(x_BLHD.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rope[:, None]).flatten(-2).to(x_BLHD.dtype)
