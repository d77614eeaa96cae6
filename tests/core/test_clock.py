"""The time grid."""

import pytest
import torch

from lumina_core import LuminaError
from lumina_core.clock import shift_time, time_grid, to_sigmas


@pytest.mark.parametrize("points", [2, 3, 12, 70])
@pytest.mark.parametrize("shift", [0.5, 1.0, 8.0, 24.0])
def test_grid_runs_from_noise_to_data(points, shift):
    grid = time_grid(points, shift)
    assert grid.dtype == torch.float32 and grid.shape == (points,)
    assert grid[0] == 0.0 and grid[-1] == 1.0
    assert bool((grid.diff() > 0).all())


def test_shift_follows_the_paper():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    for shift in (0.5, 4.0, 24.0):
        sigma = 1 - t
        expected = 1 - shift * sigma / (1 + (shift - 1) * sigma)
        assert torch.allclose(shift_time(t, shift), expected, atol=1e-15)
    assert shift_time(t, 1.0) is t


def test_sigmas_mirror_the_grid():
    grid = time_grid(70, 24.0)
    sigmas = to_sigmas(grid)
    assert sigmas[0] == 1.0 and sigmas[-1] == 0.0
    assert torch.allclose(sigmas.double(), 1.0 - grid.double(), atol=6e-8)


def test_stride_cap():
    grid = time_grid(20, 8.0, max_stride=0.05, max_t=0.8)
    free = time_grid(20, 8.0)
    start = int((free.diff() > 0.05).nonzero()[0])
    assert torch.equal(grid[: start + 1], free[: start + 1])
    capped = grid[start:-1].diff()
    assert torch.allclose(capped, torch.full_like(capped, 0.05), atol=1e-6)
    assert 0.75 < grid[-2] < 0.8 and grid[-1] == 1.0


@pytest.mark.parametrize("points", [1, 0, -5])
def test_too_few_points(points):
    with pytest.raises(LuminaError, match=f"points is {points}; a time grid needs at least 2 points"):
        time_grid(points)


@pytest.mark.parametrize("shift", [0.0, -1.0, float("nan")])
def test_bad_shift(shift):
    with pytest.raises(LuminaError, match="time shift is .*; write a number above 0"):
        time_grid(10, shift)


@pytest.mark.parametrize("stride, limit", [(0.1, None), (0.0, 0.5), (-0.1, 0.5)])
def test_bad_stride_cap(stride, limit):
    with pytest.raises(LuminaError, match="a capped grid needs both, above 0"):
        time_grid(10, 1.0, stride, limit)
