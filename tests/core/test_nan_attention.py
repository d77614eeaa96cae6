"""An attention backend that yields NaN: the first step is tried again with plain attention, once, and that is said."""

import copy
import logging

import golden
import pytest
import torch
from refusals import refused

from lumina_core import PRESETS, sample
from lumina_core.network.attention import best_attention

PLAN = PRESETS["f24F96R960-MultiScale"].replace(points=4, guidance="0")


def broken_kernel(q, k, v, mask=None):
    return torch.full_like(best_attention(q, k, v, mask), torch.nan)


@pytest.fixture
def network():
    return copy.deepcopy(golden.model("cfg1"))


@pytest.fixture
def run(network, random):
    noise, text = random(1, 16, 4, 8, 8), (random(1, 5, network.config.text_dim), None)
    return lambda network: sample(network, noise, PLAN, text, text)


def test_the_run_goes_on_with_plain_attention(network, run, caplog):
    expected = run(network)
    with caplog.at_level(logging.WARNING):
        found = run(network.with_attention(broken_kernel))
    (line,) = caplog.messages
    assert "NaN or infinite values with broken_kernel; trying plain attention" in line
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert network.ops.attention is best_attention


def test_where_attention_is_not_the_fault_the_run_still_stops(network, run, caplog):
    with torch.no_grad():
        network.layers[0].feed_forward.w1.weight[0, 0] = torch.nan
    with caplog.at_level(logging.WARNING), refused("dtype", "numerics"):
        run(network)
    (line,) = caplog.messages
    assert "with torch's attention; trying plain attention" in line
