"""The time grid."""

import math

import pytest
import torch
from refusals import refused

from lumina_core.sampling.timesteps import listed_times, schedule_times, shift_time, sigmoid_times, time_grid, to_sigmas


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


@pytest.mark.parametrize("points", [1, 0, -5])
def test_too_few_points(points):
    with refused("points", "value", str(points), "at least 2"):
        time_grid(points)


@pytest.mark.parametrize("shift", [0.0, -1.0, float("nan")])
def test_bad_shift(shift):
    with refused("time_shift", "value", "0"):
        time_grid(10, shift)


@pytest.mark.parametrize("times", ["", "rational", " Rational "])
@pytest.mark.parametrize("shift", [1.0, 24.0])
def test_the_rational_schedule_is_the_time_shift(times, shift):
    assert torch.equal(schedule_times(times, 12, shift), time_grid(12, shift))


def test_the_linear_schedule_is_even():
    assert torch.equal(schedule_times("linear", 12, 24.0), torch.linspace(0, 1, 12))


def test_the_sigmoid_schedule_is_the_slides_own():
    """Written as there, in two cases, then rescaled to reach both ends; and ten steps computed by hand."""
    m, a, b = 0.6, 6.0, 20.0

    def slides(u):
        return 1 / (1 + math.exp(-a * (u - m))) if u < m else 1 - 1 / (1 + math.exp(b * (u - m)))

    low, high = slides(0.0), slides(1.0)
    assert 0 < low < 0.03 and 0.999 < high < 1, "it does not reach the ends by itself"
    expected = [(slides(i / 10) - low) / (high - low) for i in range(11)]
    assert schedule_times("sigmoid", 11).tolist() == pytest.approx(expected, abs=1e-6)
    by_hand = [0, 0.021, 0.058, 0.118, 0.211, 0.337, 0.487, 0.878, 0.982, 0.998, 1]
    assert schedule_times("sigmoid", 11).tolist() == pytest.approx(by_hand, abs=6e-4)
    grid = schedule_times("sigmoid", 1000)
    assert (grid[0], grid[-1]) == (0, 1) and bool((grid.diff() > 0).all())


def test_numbers_of_the_sigmoid_schedule():
    assert torch.equal(schedule_times("sigmoid 0.6, 6, 20", 11), schedule_times("sigmoid", 11))
    assert torch.equal(schedule_times("sigmoid 0.5 4 8", 11), sigmoid_times(11, 0.5, 4, 8))
    assert not torch.equal(schedule_times("sigmoid 0.5 4 8", 11), schedule_times("sigmoid", 11))


@pytest.mark.parametrize("text", ["0, 0.1, 0.4, 1", " 0 0.1  0.4 1.0 ", "0,1e-1,.4,1,"])
def test_a_list_of_times(text):
    assert listed_times(text) == (0, 0.1, 0.4, 1)
    assert schedule_times(text, 99, 8.0).tolist() == pytest.approx([0, 0.1, 0.4, 1])


def test_a_grid_through_given_times_moves_the_nearest_points_there():
    plain, found = schedule_times("linear", 11), schedule_times("linear through 0.48, 0.12", 11)
    moved = (plain - found).abs() > 1e-6
    assert moved.nonzero().flatten().tolist() == [1, 5]
    assert found[[1, 5]].tolist() == pytest.approx([0.12, 0.48], abs=1e-7) and found[5].item() >= 0.48
    for text in ("rational through switches", "through switches"):
        switched = schedule_times(text, 11, 8.0, switches=(0.12, 0.48))
        assert torch.equal(switched, schedule_times("through 0.12 0.48", 11, 8.0))
    assert torch.equal(schedule_times("linear through switches", 11, switches=()), plain)


def test_a_grid_passes_through_times_that_are_nearest_to_one_point():
    found = schedule_times("linear through 0.49 0.51 0.52", 5)
    assert found.tolist() == pytest.approx([0, 0.49, 0.51, 0.52, 1], abs=1e-7)
    with refused("points", "value", "3", "4", "5"):
        schedule_times("linear through 0.49 0.51 0.52", 4)


def test_a_listed_time_is_never_before_what_is_written():
    """0.48 in float32 lies below 0.48: a value that holds from 0.48 on would not hold in the step that begins there."""
    assert torch.tensor(0.48).item() < 0.48
    written = [0.0, *(i / 100 for i in range(1, 100)), 1.0]
    grid = schedule_times(", ".join(map(str, written)), 2)
    assert all(0 <= found - t < 1e-7 for found, t in zip(grid.tolist(), written, strict=True))
    assert torch.equal(1 - to_sigmas(grid), grid), "nor after a turn to sigmas and back"


@pytest.mark.parametrize(
    "times, fact",
    [
        ("cosine", "'cosine'"),
        ("0.5", "'0.5'"),
        ("0, 0.5, 0.5, 1", "lists 0.5 after 0.5"),
        ("1, 0.5, 0", "lists 0.5 after 1.0"),
        ("0, 0.5, 1.5", "lists 1.5"),
        ("-0.1, 0.5, 1", "lists -0.1"),
        ("0.1, 0.5, 1", "0.1 to 1.0"),
        ("0, 0.5", "0.0 to 0.5"),
        ("0, half, 1", "'half'"),
        ("0, nan, 1", "'nan'"),
        ("0, 1e-9, 1.1e-9, 1", "'0, 1e-9, 1.1e-9, 1'"),
        ("0, 0.50000001, 0.50000002, 1", "'0, 0.50000001, 0.50000002, 1'"),
        ("through", "'through'"),
        ("rational through 0.5 1", "'rational through 0.5 1'"),
        ("linear through switches", "'linear through switches'"),
        ("linear through switches 0.5", "'switches'"),
        ("linear 2 through 0.5", "'linear 2 through 0.5'"),
        ("sigmoid 0.6", "'sigmoid 0.6'"),
        ("sigmoid 1.6 6 20", "'sigmoid 1.6 6 20'"),
        ("sigmoid 0.6 6 -20", "'sigmoid 0.6 6 -20'"),
        ("sigmoid 0.6 6 2000", "'sigmoid 0.6 6 2000'"),
        ("sigmoid 0.6 6 steep", "'steep'"),
        ("linear 3", "'linear 3'"),
        (",", "','"),
    ],
)
def test_bad_times(times, fact):
    with refused("times", "value", fact):
        schedule_times(times, 11)


@pytest.mark.parametrize("times", ["", "linear", "sigmoid"])
def test_a_named_schedule_needs_points(times):
    with refused("points", "value", "1", "2"):
        schedule_times(times, 1)
