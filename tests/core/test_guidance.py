"""Guidance against slow arithmetic, item by item, in float64."""

import math

import pytest
import torch

from lumina_core.sampling.guidance import Guider


def slow_guide(positive, negatives, renorm):
    items = []
    for index, item in enumerate(positive.double()):
        pos = item.flatten().tolist()
        against = [(g, negative[index].flatten().tolist()) for g, negative in negatives]
        total = [p + sum(g * (p - other[place]) for g, other in against) for place, p in enumerate(pos)]
        limit, norm = renorm * math.hypot(*pos), math.hypot(*total)
        factor = limit / norm if renorm > 0 and norm > limit else 1.0
        items.append(torch.tensor([v * factor for v in total]).view_as(item))
    return torch.stack(items)


def guide(positive, negatives, renorm=-1.0):
    """What a guider gives for pairs of scale and negative."""
    return Guider(tuple(scale for scale, _ in negatives), renorm)(positive, *(negative for _, negative in negatives))


@pytest.mark.parametrize("renorm", [-1.0, 0.0, 0.5, 1.0, 2.0, 100.0])
@pytest.mark.parametrize("scales", [(), (20.0,), (3.0, 1.5)])
def test_equals_slow_arithmetic(random, scales, renorm):
    positive = random(3, 4, 2, 3, 5) * torch.tensor([0.1, 1.0, 30.0]).view(-1, 1, 1, 1, 1)
    negatives = [(g, random(3, 4, 2, 3, 5)) for g in scales]
    found = guide(positive, negatives, renorm)
    assert torch.allclose(found, slow_guide(positive, negatives, renorm).float(), rtol=1e-5, atol=1e-5)


def test_bound_is_per_item(random):
    """A loud item does not lift the bound of a quiet one."""
    positive = torch.cat([random(1, 4, 2, 4, 4), 100 * random(1, 4, 2, 4, 4)])
    negative = torch.cat([5 * random(1, 4, 2, 4, 4), positive[1:]])
    found = guide(positive, [(10.0, negative)], 1.0)
    norms, limits = found.flatten(1).norm(dim=1), positive.flatten(1).norm(dim=1)
    assert torch.allclose(norms, limits, rtol=1e-5)


def test_bound_below_one_shrinks_the_plain_velocity(random):
    positive = random(2, 4, 2, 4, 4)
    assert torch.allclose(guide(positive, [], 0.25), 0.25 * positive)
    assert torch.equal(guide(positive, [], -1.0), positive)


def test_bound_never_enlarges(random):
    positive = random(1, 4, 2, 4, 4)
    negative = 0.5 * positive  # guided = 1.5 * positive, within the bound
    assert torch.allclose(guide(positive, [(1.0, negative)], 2.0), 1.5 * positive)


def test_zero_velocity_stays_zero():
    zero = torch.zeros(2, 4, 1, 2, 2)
    assert torch.equal(guide(zero, [(3.0, zero)], 1.0), zero)


def test_half_precision_is_guided_in_float32(random):
    positive, negative = random(1, 4, 2, 4, 4).bfloat16(), random(1, 4, 2, 4, 4).bfloat16()
    found = guide(positive, [(20.0, negative)], 1.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, guide(positive.float(), [(20.0, negative.float())], 1.0))


def test_inputs_are_left_alone(random):
    positive, negative = random(1, 4, 2, 4, 4), random(1, 4, 2, 4, 4)
    copies = positive.clone(), negative.clone()
    guide(positive, [(20.0, negative)], 0.5)
    guide(positive, [])
    assert torch.equal(positive, copies[0]) and torch.equal(negative, copies[1])
