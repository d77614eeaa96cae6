"""What must not be done twice or kept twice, counted without a clock: evaluations, constants of a run, copies."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from fake_network import FakeNetwork

import lumina_core.network.next_dit
from benchmarks.common.tensor_memory import TensorMemory
from lumina_core import PRESETS, MultiScaleNextDiT, SamplingPlan, sample
from lumina_core.network.block import NextDiTBlock
from lumina_core.network.config import BlockConfig, VideoConfig
from lumina_core.network.ops import CPU_OPS
from lumina_core.network.rope import freqs_cis
from scripts.make_tiny_set import random_weights

CONFIG = VideoConfig(dim=32, layers=2, heads=2, kv_heads=1, ffn_hidden=64, text_dim=24, cond_dim=16)
BATCH = 2
LATENT = (BATCH, CONFIG.channels, 2, 4, 8)
SWITCHING = SamplingPlan(patch="2x4 | 0.2: 2x2 | 0.5: 1x2", guidance="3 | 0.6: 0", motion=4.0, points=12)


@pytest.fixture
def network() -> MultiScaleNextDiT:
    network = MultiScaleNextDiT(CONFIG)
    network.load_state_dict(random_weights(network.state_dict(), 0))
    return network.eval().requires_grad_(False)


def texts(random, lengths=(7, 4)) -> list[tuple[torch.Tensor, None]]:
    return [(random(1, length, CONFIG.text_dim), None) for length in lengths]


@pytest.mark.parametrize("name", PRESETS)
def test_the_network_is_called_as_the_plan_says_and_no_oftener(random, name):
    plan, calls = PRESETS[name], []

    class Recorder(FakeNetwork):
        def __call__(self, x, t, text, mask, motion, patch):
            calls.append((patch, len(x), float(t[0])))
            return x

    sample(Recorder(), random(*LATENT), plan, *texts(random))
    evaluations = list(plan.evaluations())
    assert calls == [(e.patch, BATCH * e.passes, e.t) for e in evaluations]
    assert len(calls) == plan.steps, "Euler asks once per step"


class Rows:
    """Rows of a batch that have gone through layers of the text path."""

    def __init__(self, network: MultiScaleNextDiT):
        self.seen: Counter[str] = Counter()
        self.names = {"cap_embedder": network.cap_embedder}
        for index, layer in enumerate(network.layers):
            self.names[f"{index} norm"] = layer.attention_y_norm
            self.names[f"{index} keys"] = layer.attention.wk_y
            self.names[f"{index} values"] = layer.attention.wv_y
        for name, layer in self.names.items():
            layer.register_forward_hook(lambda _, inputs, __, name=name: self.count(name, inputs[0]))

    def count(self, name: str, x: torch.Tensor) -> None:
        self.seen[name] += len(x)


@pytest.mark.parametrize("guidance, items", [("3 | 0.6: 0", 2 * BATCH), ("0 | 0.6: 3", 2 * BATCH), (0, BATCH)])
def test_text_is_projected_once_per_run_and_layer(random, network, guidance, items):
    plan, rows = SWITCHING.replace(guidance=guidance), Rows(network)
    for run in (1, 2):
        sample(network, random(*LATENT), plan, *texts(random))
        assert rows.seen == dict.fromkeys(rows.names, items * run), f"run {run}"


def test_a_rotary_table_is_made_once_per_segment(random, network, monkeypatch):
    grids = []

    def counted(grid, *rest):
        grids.append(grid)
        return freqs_cis(grid, *rest)

    monkeypatch.setattr(lumina_core.network.next_dit, "freqs_cis", counted)
    sample(network, random(*LATENT), SWITCHING, *texts(random))
    assert grids == [(1, 1, 2), (1, 2, 4), (2, 2, 4)]


def test_nothing_of_a_run_outlives_it(random, network):
    noise, both = random(*LATENT), texts(random)
    sample(network, noise, SWITCHING, *both)
    other = [(features + 1, mask) for features, mask in both]
    expected = sample(network, noise, SWITCHING, *other)
    fresh = MultiScaleNextDiT(CONFIG)
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(expected, sample(fresh.eval().requires_grad_(False), noise, SWITCHING, *other))


TOKENS, DIM = 4096, 64
PEAK = 5.5
"""Tensors of all tokens that a block holds at most at once beside its input: 5 in self-attention (its scaled input,
queries, keys, values and result), where a complex copy, keys kept too long or a whole hidden layer would add to it."""
GATHERS = {"aten.index", "aten.index_select", "aten.gather", "aten.embedding", "aten.repeat", "aten.cat"}


@pytest.fixture
def block_bytes(random) -> TensorMemory:
    """What one block of an inference allocates."""
    config = BlockConfig(dim=DIM, heads=4, kv_heads=4, ffn_hidden=3 * DIM, context_dim=24, cond_dim=16)
    block = NextDiTBlock(config, CPU_OPS).eval().requires_grad_(False)
    rope = freqs_cis((TOKENS // 256, 16, 16), (4, 6, 6), 256.0, torch.device("cpu"))
    x, context, cond = random(1, TOKENS, DIM), random(1, 9, 24), random(1, 1, 16)
    with torch.no_grad(), TensorMemory() as live:
        block(x, rope, context, None, cond, CPU_OPS.for_call(x))
    return live


def test_a_block_keeps_no_copies(block_bytes):
    unit = TOKENS * DIM * 4
    assert block_bytes.peak <= PEAK * unit, [str(made) for made in block_bytes.at_peak[:8]]


def test_modulation_is_broadcast_and_not_gathered(block_bytes):
    assert not GATHERS & set(block_bytes.operators)
