"""Flow time: 0 is noise, 1 is data; the host's sigma is 1 - t."""

from __future__ import annotations

import torch

from .errors import LuminaError


def shift_time(t: torch.Tensor, shift: float) -> torch.Tensor:
    """Spend more of the grid near the noise: ``t / (t + s - s t)`` (paper section 3.2, official integrators.py).

    In sigma this is the usual ``s sigma / (1 + (s - 1) sigma)``. ``shift`` 1 changes nothing.
    """
    return t if shift == 1.0 else t / (t + shift - shift * t)


def time_grid(
    points: int, shift: float = 1.0, max_stride: float | None = None, max_t: float | None = None
) -> torch.Tensor:
    """The official grid: ``points`` float32 times from 0 to 1, so ``points - 1`` steps.

    Computed in float32 as the official sampler does; a float64 grid differs by up to 6e-7 relative. With
    ``max_stride`` the grid goes on in equal strides from the first interval that is wider, up to ``max_t``, and then
    to 1 (official ``max_stride``; the official code repeats the last 1 when no interval is wider, this one does not).
    """
    if points < 2:
        raise LuminaError(f"points is {points}; a time grid needs at least 2 points (1 step).")
    if not shift > 0:
        raise LuminaError(f"time shift is {shift}; write a number above 0 (1 = no shift).")
    grid = shift_time(torch.linspace(0.0, 1.0, points), shift)
    if max_stride is None:
        return grid
    if max_t is None or not max_stride > 0:
        raise LuminaError(f"max_stride is {max_stride} and max_t is {max_t}; a capped grid needs both, above 0.")
    return _cap_strides(grid, max_stride, max_t)


def _cap_strides(grid: torch.Tensor, max_stride: float, max_t: float) -> torch.Tensor:
    times = grid.tolist()
    for index in range(len(times) - 1):
        if times[index + 1] - times[index] > max_stride:
            times = times[: index + 1]
            while times[-1] + max_stride < max_t:
                times.append(times[-1] + max_stride)
            times.append(1.0)
            break
    return torch.tensor(times)


def to_sigmas(grid: torch.Tensor) -> torch.Tensor:
    """The same grid in the host's terms: sigma = 1 - t, falling from 1 to exactly 0."""
    return 1.0 - grid
