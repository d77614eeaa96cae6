"""Lumina-V2A against a slow float64 network written from the formulas, and what each stream may and may not do."""

import math
from dataclasses import replace

import pytest
import torch
from refusals import refused

from lumina_core.network.audio import AudioNextDiT, patchify_audio, unpatchify_audio
from lumina_core.network.audio_conditioning import AudioCondition
from lumina_core.network.audio_config import AUDIO_PRESETS, AudioConfig
from lumina_core.network.extrapolation import audio_scaling

SMALL = AudioConfig(
    channels=3, bins=8, patch=(2, 4), dim=32, layers=2, heads=4, kv_heads=2, visual_dim=10, text_dim=12, sync_dim=6,
    text_tokens=5, cond_dim=16,
)  # fmt: skip
ROWS = 16


def seeded(network):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(max(1, parameter.shape[-1])))
        network.null_text_mask.copy_(torch.tensor([1.0, 1, 0, 0, 0]))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    return seeded(AudioNextDiT(SMALL))


def condition(random, batch=2):
    mask = torch.tensor([[True, True, True, False, False], [True, True, False, False, True]])[:batch]
    return AudioCondition.of(random(batch, 5, 10), random(batch, 2, 8, 6), random(batch, 5, 12), mask)


def slow_norm(x, weight=None, bias=None, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    out = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)
    return out if weight is None else out * weight + bias


def slow_rms(x, weight):
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight


def slow_rope(x, position, width=4):
    """x (D,) of one head; position (row, bin). The first half turns with the row, the second with the bin."""
    out = x.clone()
    for axis in range(2):
        for pair in range(width // 2):
            angle = position[axis] * 10000.0 ** (-2 * pair / width)
            i = axis * width + 2 * pair
            out[i] = x[i] * math.cos(angle) - x[i + 1] * math.sin(angle)
            out[i + 1] = x[i] * math.sin(angle) + x[i + 1] * math.cos(angle)
    return out


def slow_mix(query, keys, values):
    scores = torch.stack([query @ key for key in keys]) / math.sqrt(len(query))
    return (torch.softmax(scores, 0)[:, None] * torch.stack(values)).sum(0)


def slow_attention(w, tokens, context, mask, grid):
    q = slow_norm(tokens @ w["wq.weight"].T, w["q_norm.weight"], w["q_norm.bias"])
    k = slow_norm(tokens @ w["wk.weight"].T, w["k_norm.weight"], w["k_norm.bias"])
    v = tokens @ w["wv.weight"].T
    k_y = slow_norm(context @ w["wk_y.weight"].T, w["ky_norm.weight"], w["ky_norm.bias"])
    v_y = context @ w["wv_y.weight"].T
    places = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    out = torch.zeros_like(q)
    for head in range(4):
        own, shared = slice(8 * head, 8 * head + 8), slice(8 * (head // 2), 8 * (head // 2) + 8)
        queries = [slow_rope(q[i, own], place) for i, place in enumerate(places)]
        keys = [slow_rope(k[i, shared], place) for i, place in enumerate(places)]
        shown = [i for i in range(len(context)) if mask[i]]
        for i, query in enumerate(queries):
            heard = slow_mix(query, keys, list(v[:, shared]))
            cross = slow_mix(query, [k_y[s, shared] for s in shown], [v_y[s, shared] for s in shown])
            out[i, own] = heard + math.tanh(float(w["gate"][head])) * cross
    return out @ w["wo.weight"].T


def within(weights, prefix):
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def slow_block(w, tokens, context, mask, cond, grid):
    silu = torch.nn.functional.silu
    # One row of tokens after another shares a conditioning vector.
    modulation = silu(cond) @ w["adaLN_modulation.1.weight"].T + w["adaLN_modulation.1.bias"]
    scale1, gate1, scale2, gate2 = modulation.repeat_interleave(grid[1], 0).chunk(4, -1)
    context = slow_rms(context, w["attention_y_norm.weight"])
    h = slow_rms(tokens, w["attention_norm1.weight"]) * (1 + scale1)
    h = slow_attention(within(w, "attention."), h, context, mask, grid)
    tokens = tokens + gate1.tanh() * slow_rms(h, w["attention_norm2.weight"])
    h = slow_rms(tokens, w["ffn_norm1.weight"]) * (1 + scale2)
    h = (silu(h @ w["feed_forward.w1.weight"].T) * (h @ w["feed_forward.w3.weight"].T)) @ w["feed_forward.w2.weight"].T
    return tokens + gate2.tanh() * slow_rms(h, w["ffn_norm2.weight"])


def slow_slots(sync):
    """Features (S, 8, D) on the 80 ms grid: feature k of segment i lies in slot 4 i + k; overlaps are averaged."""
    found = [[] for _ in range(4 * len(sync) + 4)]
    for segment, features in enumerate(sync):
        for k, feature in enumerate(features):
            found[4 * segment + k].append(feature)
    return [torch.stack(features).mean(0) for features in found]


def slow_sinusoid(value, width, scale=1.0):
    angles = [scale * value * math.exp(-math.log(10000) * i / (width // 2)) for i in range(width // 2)]
    return torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles], dtype=torch.float64)


def slow_velocity(network, x, t, visual, sync, text, mask):
    """One item; everything float64."""
    w = {name: value.double() for name, value in network.state_dict().items()}

    def linear(name, value):
        return value @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    silu = torch.nn.functional.silu
    times = [slow_sinusoid(n / 8, 32, scale=100.0) for n in range(len(visual))]
    seen = linear("visual_proj", visual.double()) + w["visual_pos_scale"] * torch.stack(times)
    read = linear("text_proj", text.double())
    pooled = seen.mean(0) + read[mask].mean(0)
    cond = linear("cond_mlp.2", silu(linear("cond_mlp.0", pooled)))
    cond = cond + linear("t_embedder.mlp.2", silu(linear("t_embedder.mlp.0", slow_sinusoid(1000 * t, 256))))
    # A slot is two latent rows, and a token row here is one slot: both of its rows hold the same feature.
    slots = slow_slots(sync.double())
    grid = (ROWS // 2, 2)
    high = torch.stack([linear("sync_proj", torch.cat([slots[row], slots[row]])) for row in range(grid[0])])
    cond = cond + high
    tokens = torch.stack([
        torch.tensor([x[c, 2 * row + p, 4 * column + q] for p in range(2) for q in range(4) for c in range(3)])
        for row in range(grid[0]) for column in range(grid[1])
    ]).double()  # fmt: skip
    tokens = linear("x_embedder", tokens)
    context, shown = torch.cat([seen, read]), [True] * len(seen) + mask.tolist()
    for layer in range(2):
        tokens = slow_block(within(w, f"layers.{layer}."), tokens, context, shown, cond, grid)
    scale = silu(cond) @ w["final_layer.adaLN_modulation.1.weight"].T + w["final_layer.adaLN_modulation.1.bias"]
    tokens = slow_norm(tokens, eps=1e-6) * (1 + scale.repeat_interleave(2, 0))
    patches = linear("final_layer.linear", tokens)
    out = torch.zeros(3, ROWS, 8, dtype=torch.float64)
    for row in range(grid[0]):
        for column in range(grid[1]):
            numbers = iter(patches[2 * row + column])
            for p in range(2):
                for q in range(4):
                    for c in range(3):
                        out[c, 2 * row + p, 4 * column + q] = next(numbers)
    return out


def test_network_equals_the_slow_one(network, random):
    asked, x, t = condition(random), random(2, 3, ROWS, 8), torch.tensor([0.25, 0.75])
    found = network(x, t, asked)
    for item in range(2):
        parts = (asked.visual[item], asked.sync[item], asked.text[item], asked.text_mask[item])
        wanted = slow_velocity(network, x[item], float(t[item]), *parts)
        assert torch.allclose(found[item].double(), wanted, atol=1e-5 * float(wanted.abs().max()))


def test_patches_come_back(random):
    x = random(2, 3, 6, 8)
    tokens = patchify_audio(x, (2, 4))
    assert tokens.shape == (2, 6, 24)
    assert torch.equal(unpatchify_audio(tokens, (2, 4), 6), x)


def test_zero_gates_leave_self_attention_alone(network, random):
    """With every cross-attention gate at zero the context reaches the network through pooling alone."""
    changed = AudioNextDiT(SMALL)
    changed.load_state_dict(network.state_dict())
    for layer in changed.layers:
        layer.attention.gate.data.zero_()
    changed.requires_grad_(False)
    asked, x, t = condition(random), random(2, 3, ROWS, 8), torch.tensor([0.25, 0.75])
    found = changed(x, t, asked)
    for layer in changed.layers:
        layer.attention.wk_y.weight.normal_()
        layer.attention.wv_y.weight.normal_()
    assert torch.equal(changed(x, t, asked), found)
    assert not torch.allclose(network(x, t, asked), found, atol=1e-3)


def test_left_out_streams_are_the_null_features(network, random):
    asked, x, t = condition(random), random(2, 3, ROWS, 8), torch.tensor([0.25, 0.75])
    silent = network(x, t, asked.without_video())
    other = replace(asked, visual=random(2, 5, 10), sync=random(2, 2, 8, 6))
    assert torch.equal(network(x, t, other.without_video()), silent)
    stated = replace(asked, visual=network.null_visual.expand(2, 5, 10), sync=network.null_sync.expand(2, 2, 8, 6))
    assert torch.equal(network(x, t, stated), silent)
    mute = network(x, t, asked.without_text())
    null = (network.null_text.expand(2, 5, 12), network.null_text_mask.bool().expand(2, 5))
    assert torch.allclose(network(x, t, asked.with_text(*null)), mute, atol=1e-6)
    assert torch.equal(network(x, t, replace(asked, text=random(2, 5, 12)).without_text()), mute)
    assert not torch.allclose(mute, network(x, t, asked), atol=1e-3)


def test_items_do_not_meet(network, random):
    asked, x, t = condition(random), random(2, 3, ROWS, 8), torch.tensor([0.25, 0.75])
    both = network(x, t, replace(asked, no_video=torch.tensor([True, False])))
    alone = AudioCondition.of(asked.visual[1:], asked.sync[1:], asked.text[1:], asked.text_mask[1:])
    assert torch.allclose(both[1:], network(x[1:], t[1:], alone), atol=1e-5)


def test_sync_features_act_on_their_own_rows_first(network, random):
    """Without attention between rows, a change in the last segment touches only the slots that it lies in."""
    still = AudioNextDiT(SMALL)
    still.load_state_dict(network.state_dict())
    still.requires_grad_(False)
    for layer in still.layers:
        layer.attention.wo.weight.zero_()
    asked, x, t = condition(random), random(2, 3, ROWS, 8), torch.tensor([0.25, 0.75])
    changed = asked.sync.clone()
    changed[:, 1, 7] += 1
    moved = (still(x, t, asked) - still(x, t, replace(asked, sync=changed))).abs().amax((0, 1, 3))
    # Feature 7 of segment 1 is slot 11; the latents here end after slot 7, and slot 7 is feature 3 of segment 1.
    assert moved.max() == 0
    changed = asked.sync.clone()
    changed[:, 1, 3] += 1
    moved = (still(x, t, asked) - still(x, t, replace(asked, sync=changed))).abs().amax((0, 1, 3))
    assert moved[:14].max() == 0 and moved[14:].min() > 0


@pytest.mark.parametrize("seconds, rows", [(0.5, 14), (4, 100), (8, 200), (7.99, 200), (8.01, 202), (20, 500)])
def test_rows_cover_the_duration(seconds, rows):
    assert AudioConfig().latent_frames(seconds) == rows


@pytest.mark.parametrize("trained, scaled", [(None, False), (ROWS, False), (2 * ROWS, False), (ROWS // 2, True)])
def test_rows_beyond_those_trained_on_are_scaled(network, random, trained, scaled):
    longer = AudioNextDiT(replace(SMALL, train_rows=trained))
    longer.load_state_dict(network.state_dict())
    inputs = random(2, 3, ROWS, 8), torch.tensor([0.2, 0.7]), condition(random)
    assert torch.equal(longer.eval()(*inputs), network(*inputs)) != scaled


def test_sound_is_scaled_along_time_alone():
    config = replace(SMALL, train_rows=8)
    (found,) = audio_scaling(config, 20, torch.tensor([0.4, 0.4]))
    assert found.factors == (2.5, 1) and found.trained == (4, 2)
    assert found.divisors(1, 4, 100.0).tolist() == [1, 1]
    assert audio_scaling(config, 8, torch.tensor([0.4])) == (None,)


def test_longer_sounds_run(network, random):
    asked = condition(random)
    long = replace(asked, sync=random(2, 9, 8, 6), visual=random(2, 13, 10))
    assert network(random(2, 3, 80, 8), torch.zeros(2), long).shape == (2, 3, 80, 8)


@pytest.mark.parametrize(
    "change, field, kind, facts",
    [
        ({"x": (2, 4, ROWS, 8)}, "latents", "mismatch", ["4 channels", "8 mel bins"]),
        ({"x": (2, 3, ROWS, 16)}, "latents", "mismatch", ["3 channels", "16 mel bins"]),
        ({"x": (2, 3, 15, 8)}, "latents", "value", ["15 frames"]),
        ({"visual": (2, 5, 11)}, "condition", "mismatch", ["11 (visual)"]),
        ({"sync": (2, 2, 8, 7)}, "condition", "mismatch", ["7 (sync)"]),
        ({"text": (2, 5, 13)}, "condition", "mismatch", ["13 (text)"]),
        ({"x": (2, 3, 40, 8)}, "condition", "mismatch", ["1.6 s", "40 latent frames", "0.96 s", "24 latent frames"]),
    ],
)
def test_what_does_not_fit_is_told(network, random, change, field, kind, facts):
    asked = condition(random)
    features = {name: random(*shape) for name, shape in change.items() if name != "x"}
    with refused(field, kind, *facts):
        network(random(*change.get("x", (2, 3, ROWS, 8))), torch.zeros(2), replace(asked, **features))


@pytest.mark.parametrize(
    "values, field, fact",
    [
        ({"sync_align": "none"}, "sync_align", "mmaudio"),
        ({"patch": (2, 3)}, "patch", "16"),
        ({"dim": 72, "heads": 12, "kv_heads": 12}, "heads", "multiple of 4"),
        ({"heads": 7}, "heads", "7 heads"),
        ({"train_rows": 0}, "train_rows", "0"),
    ],
)
def test_configurations_that_make_no_network(values, field, fact):
    with refused(field, "value", fact):
        AudioConfig(**values)


def test_presets_have_the_sizes_that_are_written():
    counts = {}
    for name, config in AUDIO_PRESETS.items():
        with torch.device("meta"):
            network = AudioNextDiT(config)
        counts[name] = sum(p.numel() for p in network.layers.parameters()) / 1e6
    assert {name: round(count) for name, count in counts.items() if name != "tiny"} == {"S": 170, "M": 383, "L": 496}
    assert 3 < counts["tiny"] < 10
