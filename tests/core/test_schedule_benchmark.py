"""The benchmark of whole schedules: its counts, its scaled network, and rows as sums of steps, without a clock."""

from __future__ import annotations

import pytest

from benchmarks import schedule
from benchmarks.common.paper import TABLE_2
from lumina_core import PatchSize
from lumina_core.cost.flops import TextTokens, forward_cost
from lumina_core.network.config import VideoConfig
from lumina_core.shapes.latents import LatentSize

FINE, MIDDLE, COARSE = PatchSize(1, 2), PatchSize(2, 2), PatchSize(2, 4)


def test_flops_are_those_of_the_papers_table():
    found = {name: schedule.by_flops(name, schedule.real(name)) for name in schedule.SCALED_LATENTS}
    assert found["f16F64R512"]["combined"] == pytest.approx(0.331, abs=5e-4)
    assert found["f24F96R960"]["combined"] == pytest.approx(0.282, abs=5e-4)
    for row, theirs in TABLE_2.items():
        assert found["f16F64R512"][row] == pytest.approx(theirs["time"], abs=0.01)


@pytest.mark.parametrize("name", schedule.SCALED_LATENTS)
def test_the_scaled_network_keeps_the_share_of_self_attention(name):
    whole, small = schedule.real(name), schedule.scaled(name, 2)
    assert small.config.block.head_dim == whole.config.block.head_dim
    for patch, share in schedule.shares(whole).items():
        assert schedule.shares(small)[patch] == pytest.approx(share, abs=0.04)
    for patch in schedule.PATCHES:
        tokens = forward_cost(whole.config, whole.size, patch, 1).tokens
        assert forward_cost(small.config, small.size, patch, 1).tokens * schedule.SCALE == tokens


def test_each_kind_of_step_calls_the_network_once_as_named(monkeypatch):
    config = VideoConfig(dim=32, layers=1, heads=2, kv_heads=1, ffn_hidden=64, text_dim=24, cond_dim=16)
    calls, original = [], schedule.sample

    def watched(network, *args, **kwargs):
        handle = network.register_forward_pre_hook(lambda _, inputs: calls.append((inputs[5], len(inputs[0]) == 2)))
        original(network, *args, **kwargs)
        handle.remove()

    monkeypatch.setattr(schedule, "sample", watched)
    for step, run in schedule.make_steps(
        "f16F64R512", schedule.Case(config, LatentSize(2, 4, 8), TextTokens(5, 2))
    ).items():
        run()
        assert calls.pop() == step and not calls


def test_rows_are_sums_of_steps():
    seconds = {(FINE, True): 2.0, (FINE, False): 1.0, (MIDDLE, True): 0.5, (MIDDLE, False): 0.25,
               (COARSE, True): 0.125, (COARSE, False): 0.0625}  # fmt: skip
    found = schedule.relative("f24F96R960", seconds)
    assert found["1x2"] == 1
    assert found["combined"] == (30 * 0.125 + 24 * 0.5 + 6 * 2.0 + 9 * 1.0) / (60 * 2.0 + 9 * 1.0)
