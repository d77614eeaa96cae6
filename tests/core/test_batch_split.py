"""On a processor the items of a large batch are taken one after another: the same values, fewer tokens at a time."""

import pytest
import torch

import lumina_core.network.next_dit
from lumina_core import MultiScaleNextDiT, PatchSize
from lumina_core.network.config import VideoConfig
from scripts.make_tiny_set import random_weights

CONFIG = VideoConfig(dim=32, layers=2, heads=2, kv_heads=1, ffn_hidden=64, text_dim=24, cond_dim=16)
PATCH = PatchSize(1, 2)
TOKENS = 2 * 2 * 4


@pytest.fixture
def network() -> MultiScaleNextDiT:
    network = MultiScaleNextDiT(CONFIG)
    network.load_state_dict(random_weights(network.state_dict(), 0))
    return network.eval().requires_grad_(False)


def run(network, seen: list[int], keep: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, CONFIG.channels, 2, 4, 8, generator=generator)
    text = torch.randn(3, 7, CONFIG.text_dim, generator=generator)
    mask = torch.arange(7) < torch.tensor([[7], [3], [5]])
    hook = network.layers[0].register_forward_hook(lambda _, inputs, out: seen.append(len(out)))
    text, mask = (network.cache_text(text, mask), None) if keep else (text, mask)
    with torch.no_grad():
        out = network(x, torch.tensor([0.1, 0.5, 0.9]), text, mask, torch.tensor([4.0, -1.0, 2.0]), PATCH)
    hook.remove()
    return out


@pytest.mark.parametrize("keep", [False, True], ids=["text anew", "text kept"])
def test_items_apart_equal_items_together(network, monkeypatch, keep):
    together, apart = [], []
    expected = run(network, together, keep)
    monkeypatch.setattr(lumina_core.network.next_dit, "CPU_SPLIT_TOKENS", TOKENS)
    found = run(network, apart, keep)
    assert (together, apart) == ([3], [1, 1, 1])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_small_items_stay_together(network, monkeypatch):
    seen = []
    monkeypatch.setattr(lumina_core.network.next_dit, "CPU_SPLIT_TOKENS", TOKENS + 1)
    run(network, seen, keep=False)
    assert seen == [3]


def test_gradients_flow_through_one_batch(network, random, monkeypatch):
    monkeypatch.setattr(lumina_core.network.next_dit, "CPU_SPLIT_TOKENS", TOKENS)
    seen = []
    network.layers[0].register_forward_hook(lambda _, inputs, out: seen.append(len(out)))
    x = random(2, CONFIG.channels, 2, 4, 8).requires_grad_()
    t = torch.tensor([0.1, 0.5])
    network(x, t, random(2, 7, CONFIG.text_dim), None, t, PATCH).square().sum().backward()
    assert seen == [2] and bool((x.grad.flatten(1).norm(dim=1) > 0).all())
