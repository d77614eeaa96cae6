"""Flow matching's times and losses, against loops written out and against the distributions' own formulas."""

import math

import pytest
import torch
from refusals import refused

from lumina_core.sampling.noise import noised
from lumina_core.train.objective import DISTRIBUTIONS, draw_timestep, sample_losses

SHIFTS = (1.0, 2.0, 4.0, 8.0)


def share_below(distribution: str, t: float, shift: float) -> float:
    """The share of times below t: the shift undone, then the plain distribution's own."""
    plain = t * shift / (1 + t * (shift - 1))
    if distribution == "uniform":
        return plain
    return 0.5 * (1 + math.erf(math.log(plain / (1 - plain)) / math.sqrt(2)))


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_times_follow_the_shifted_distribution(distribution, shift):
    numbers = torch.Generator().manual_seed(int(shift))
    count = 4000
    times = sorted(float(draw_timestep(distribution, shift, numbers)) for _ in range(count))
    assert 0 <= times[0] and times[-1] <= 1
    # Kolmogorov-Smirnov: one run in 10000 of a right program lies further off than this.
    furthest = max(abs(share_below(distribution, t, shift) - (i + 0.5) / count) for i, t in enumerate(times))
    assert furthest < 2.23 / math.sqrt(count)


def test_a_larger_shift_lies_nearer_the_noise():
    medians = [
        sorted(float(draw_timestep("uniform", shift, torch.Generator().manual_seed(seed))) for seed in range(201))[100]
        for shift in SHIFTS
    ]
    assert medians == sorted(medians, reverse=True) and medians[0] > 2 * medians[-1]


def test_times_are_repeated_by_an_equal_generator():
    first, again, other = (draw_timestep("lognorm", 2, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    assert first.dtype == torch.float32 and first.shape == () and first == again and first != other


def test_an_unknown_distribution_is_named():
    with refused("times", "value", "'normal'"):
        draw_timestep("normal", 1, torch.Generator())


def test_noised_items_against_loops(random):
    data, noise, t = random(3, 2, 2, 2, 3), random(3, 2, 2, 2, 3), torch.tensor([0.0, 0.3, 1.0])
    found = noised(data, noise, t)
    for item in range(3):
        for place in torch.cartesian_prod(*(torch.arange(size) for size in data.shape[1:])).tolist():
            d, n = float(data[(item, *place)]), float(noise[(item, *place)])
            assert float(found[(item, *place)]) == pytest.approx(
                float(t[item]) * d + (1 - float(t[item])) * n, abs=1e-6
            )
    assert torch.equal(found[0], noise[0]) and torch.equal(found[2], data[2])


def test_losses_against_loops(random):
    velocity, data, noise = random(3, 2, 2, 2, 3), random(3, 2, 2, 2, 3), random(3, 2, 2, 2, 3)
    squared, direction = sample_losses(velocity, data, noise)
    for item in range(3):
        found = velocity[item].flatten().tolist()
        wanted = [d - n for d, n in zip(data[item].flatten().tolist(), noise[item].flatten().tolist(), strict=True)]
        error = sum((f - w) ** 2 for f, w in zip(found, wanted, strict=True)) / len(found)
        product = sum(f * w for f, w in zip(found, wanted, strict=True))
        lengths = math.sqrt(sum(f * f for f in found)) * math.sqrt(sum(w * w for w in wanted))
        assert float(squared[item]) == pytest.approx(error, rel=1e-5)
        assert float(direction[item]) == pytest.approx(1 - product / lengths, abs=1e-5)


@pytest.mark.parametrize(("factor", "error", "turn"), [(1, 0, 0), (2, 1, 0), (-1, 4, 2)])
def test_losses_of_a_scaled_truth(random, factor, error, turn):
    data, noise = random(2, 3, 2, 2, 2), random(2, 3, 2, 2, 2)
    truth = data - noise
    squared, direction = sample_losses(factor * truth, data, noise)
    torch.testing.assert_close(squared, error * truth.pow(2).flatten(1).mean(1))
    torch.testing.assert_close(direction, torch.full((2,), float(turn)), atol=1e-6, rtol=0)


def test_half_precision_is_measured_in_float32(random):
    velocity, data, noise = (
        tensor.bfloat16() for tensor in (random(2, 3, 2, 4, 4), random(2, 3, 2, 4, 4), random(2, 3, 2, 4, 4))
    )
    squared, direction = sample_losses(velocity, data, noise)
    assert squared.dtype == direction.dtype == torch.float32
