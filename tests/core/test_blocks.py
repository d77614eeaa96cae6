"""The shared block against naive loops in float64."""

import math

import pytest
import torch
from refusals import refused
from torch import nn

from lumina_core.network import cpu_kernels, in_place
from lumina_core.network.attention import torch_attention
from lumina_core.network.block import Attention, FinalLayer, NextDiTBlock
from lumina_core.network.config import BlockConfig
from lumina_core.network.cpu_kernels import RMSNorm
from lumina_core.network.ops import CPU_OPS, Ops
from lumina_core.network.rope import freqs_cis, rotate

B, L, S, HEAD = 2, 12, 5, 16
MODES = pytest.mark.parametrize("form", ["with gradients", "in place", "on a CPU"])
ROPE = freqs_cis((3, 2, 2), (4, 6, 6), 256.0)
OPS = Ops(attention=torch_attention)
FORMS = {"with gradients": OPS, "in place": OPS.in_place, "on a CPU": OPS.on_cpu}
MASK = torch.tensor([[True, False, True, False, False], [False, True, True, True, True]])


def config(kv_heads=2, **changes):
    values = {"dim": 64, "heads": 4, "kv_heads": kv_heads, "ffn_hidden": 96, "context_dim": 40, "cond_dim": 24}
    return BlockConfig(**{**values, **changes})


def seeded(module):
    """The module with every parameter drawn at random, so that nothing is zero or one."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) / math.sqrt(value.shape[-1]))
    return module.eval().requires_grad_(False)


def softmax_attention(q, k, v, mask):
    """q (heads, L, D), k and v (kv_heads, S, D), mask (S,) or None: one query at a time."""
    share = q.shape[0] // k.shape[0]
    out = torch.zeros_like(q)
    for h in range(q.shape[0]):
        keys, values = k[h // share], v[h // share]
        for i in range(q.shape[1]):
            scores = [(q[h, i] @ key).item() / math.sqrt(q.shape[-1]) for key in keys]
            shown = [s for s in range(len(keys)) if mask is None or mask[s]]
            weights = [math.exp(scores[s]) for s in shown]
            for s, weight in zip(shown, weights, strict=True):
                out[h, i] += weight / sum(weights) * values[s]
    return out


def layer_norm(x, layer):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
    return scaled * layer.weight.double() + layer.bias.double()


def rms_norm(x, layer):
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-5) * layer.weight.double()


def heads_of(x):
    return x.unflatten(-1, (-1, HEAD)).transpose(-3, -2)


def turned(x):
    """x (L, heads * D) float64, rotated and split; the rotation itself is tested elsewhere."""
    return rotate(x.float().unflatten(-1, (-1, HEAD))[None], ROPE)[0].double().transpose(0, 1)


def slow_attention(layer, x, context, mask):
    def project(linear, value):
        return value @ linear.weight.double().T

    rows = []
    for item in range(len(x)):
        tokens, text = x[item].double(), context[item].double()
        q = turned(layer_norm(project(layer.wq, tokens), layer.q_norm))
        k = turned(layer_norm(project(layer.wk, tokens), layer.k_norm))
        own = softmax_attention(q, k, heads_of(project(layer.wv, tokens)), None)
        k_text = heads_of(layer_norm(project(layer.wk_y, text), layer.ky_norm))
        cross = softmax_attention(q, k_text, heads_of(project(layer.wv_y, text)), None if mask is None else mask[item])
        for head, gate in enumerate(layer.gate.tolist()):
            own[head] += math.tanh(gate) * cross[head]
        rows.append(project(layer.wo, own.transpose(0, 1).flatten(1)))
    return torch.stack(rows)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "holes"])
@MODES
def test_attention_equals_naive_loops(random, kv_heads, mask, form):
    layer = seeded(Attention(config(kv_heads), OPS))
    x, context = random(B, L, 64), random(B, S, 40)
    found = layer(x.clone(), ROPE, layer.context_keys_values(context), mask, FORMS[form])
    assert torch.allclose(found.double(), slow_attention(layer, x, context, mask), atol=1e-5)


def test_masked_context_is_never_seen(random):
    layer = seeded(Attention(config(), OPS))
    x, context = random(B, L, 64), random(B, S, 40)
    garbage = torch.where(MASK[..., None], context, torch.full_like(context, 1e4))
    found = layer(x, ROPE, layer.context_keys_values(garbage), MASK, OPS)
    assert torch.equal(found, layer(x, ROPE, layer.context_keys_values(context), MASK, OPS))


def test_without_qk_norm_there_is_no_norm():
    layer = Attention(config(qk_norm=False), OPS)
    assert not [key for key in layer.state_dict() if "norm" in key]


@MODES
@pytest.mark.parametrize("tokens_at_a_time", [5, 1024])
def test_block_equals_the_formula(random, form, tokens_at_a_time, monkeypatch):
    for module in (cpu_kernels, in_place):
        monkeypatch.setattr(module, "FFN_CHUNK_TOKENS", tokens_at_a_time)
    block = seeded(NextDiTBlock(config(), OPS))
    x, context, cond = random(B, L, 64), random(B, S, 40), random(B, 1, 24)
    modulation = torch.nn.functional.silu(cond[:, 0].double()) @ block.adaLN_modulation[1].weight.double().T
    parts = (modulation + block.adaLN_modulation[1].bias.double())[:, None].split(64, dim=-1)
    scale_attention, gate_attention, scale_ffn, gate_ffn = parts

    state = x.double()
    scaled = rms_norm(state, block.attention_norm1) * (1 + scale_attention)
    update = slow_attention(block.attention, scaled, rms_norm(context.double(), block.attention_y_norm), MASK)
    state = state + gate_attention.tanh() * rms_norm(update, block.attention_norm2)
    scaled = rms_norm(state, block.ffn_norm1) * (1 + scale_ffn)
    w1, w2, w3 = (getattr(block.feed_forward, name).weight.double().T for name in ("w1", "w2", "w3"))
    update = (torch.nn.functional.silu(scaled @ w1) * (scaled @ w3)) @ w2
    state = state + gate_ffn.tanh() * rms_norm(update, block.ffn_norm2)

    with torch.no_grad():
        kept = block(x.clone(), ROPE, block.context_keys_values(context), MASK, cond, FORMS[form])
        found = block(x, ROPE, context, MASK, cond, FORMS[form])
    assert torch.allclose(found.double(), state, atol=2e-5)
    assert torch.equal(kept, found)


def test_gradients_of_a_block_are_those_of_the_formula(random):
    """What is written in place without gradients must not be with them."""
    block = seeded(NextDiTBlock(config(), OPS)).double().requires_grad_(True)
    x, context, cond = (random(*shape).double().requires_grad_() for shape in ((1, L, 64), (1, S, 40), (1, 1, 24)))
    # FreqsCis is in float32, too coarse for finite differences.
    rope = torch.ones_like(ROPE)

    def run(*inputs):
        return block(inputs[0], rope, inputs[1], None, inputs[2], OPS).square().sum()

    assert torch.autograd.gradcheck(run, (x, context, cond), eps=1e-5, atol=1e-2, rtol=1e-2, fast_mode=True)


@MODES
@pytest.mark.parametrize("make", [nn.RMSNorm, RMSNorm], ids=["torch's", "ours"])
@pytest.mark.parametrize("rows", [1, 3, 12])
def test_row_modulation_equals_a_loop_over_rows(random, rows, make, form):
    x, update, factor = random(B, L, 8), random(B, L, 8), random(B, rows, 8)
    norm = make(8, eps=0.1)
    norm.weight.data = random(8)
    normed = {name: nn.functional.rms_norm(y, (8,), norm.weight, 0.1) for name, y in (("x", x), ("update", update))}
    scaled, gated = torch.empty_like(x), torch.empty_like(x)
    for token in range(L):
        row = factor[:, token // (L // rows)]
        scaled[:, token] = normed["x"][:, token] * (1 + row)
        gated[:, token] = x[:, token] + normed["update"][:, token] * row.tanh()
    ops = FORMS[form]
    with torch.no_grad():
        before = x.clone()
        assert torch.allclose(ops.modulate(norm, x, factor), scaled, atol=1e-6)
        assert torch.equal(x, before)
        assert torch.allclose(ops.add_gated(norm, x, update, factor), gated, atol=1e-6)


def test_the_form_is_chosen_once_per_call(random):
    """Plain where gradients are enabled, in place on another device, and a replaced function stays in all of them."""
    x = random(2, 3)
    assert OPS.for_call(x) is OPS
    with torch.no_grad():
        assert OPS.for_call(x) is OPS.on_cpu and OPS.on_cpu.modulate is cpu_kernels.modulate
        assert OPS.for_call(x.to("meta")) is OPS.in_place and OPS.in_place.modulate is in_place.modulate
        own = Ops(modulate=lambda norm, x, scale: x)
        assert own.for_call(x).modulate is own.modulate and own.for_call(x).add_gated is cpu_kernels.add_gated
        seen = Ops(attention=lambda *tensors, **options: options).for_call(x, mark=1)
        assert seen.attention(x, x, x, None) == {"mark": 1}
    assert CPU_OPS.linear is cpu_kernels.Linear


@pytest.mark.parametrize("rows", [3, 12])
def test_equal_rows_equal_one_row(random, rows):
    block = seeded(NextDiTBlock(config(), OPS))
    final = seeded(FinalLayer(64, 24, 32, OPS))
    x, context, cond = random(B, L, 64), random(B, S, 40), random(B, 1, 24)
    one = block(x, ROPE, context, None, cond, OPS)
    many = block(x, ROPE, context, None, cond.expand(-1, rows, -1), OPS)
    assert torch.allclose(one, many, atol=1e-5)
    assert torch.allclose(final(one, cond, OPS), final(one, cond.expand(-1, rows, -1), OPS), atol=1e-5)


def test_final_layer_equals_the_formula(random):
    final = seeded(FinalLayer(64, 24, 32, OPS))
    x, cond = random(B, L, 64), random(B, 1, 24)
    state = x.double()
    centred = state - state.mean(-1, keepdim=True)
    normed = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6)
    linear, modulation = final.linear, final.adaLN_modulation[1]
    scale = torch.nn.functional.silu(cond.double()) @ modulation.weight.double().T + modulation.bias.double()
    expected = normed * (1 + scale) @ linear.weight.double().T + linear.bias.double()
    assert torch.allclose(final(x, cond, OPS).double(), expected, atol=1e-5)


@pytest.mark.parametrize("changes", [{"dim": 66}, {"kv_heads": 3}])
def test_heads_must_divide(changes):
    with refused("heads", "value", "4 heads"):
        config(**changes)
