"""Rotary positions against a slow table of complex float64, and their properties."""

import cmath
import copy

import golden
import pytest
import torch
from refusals import refused

from lumina_core import PatchSize
from lumina_core.network import in_place
from lumina_core.network.config import VideoConfig
from lumina_core.network.rope import freqs_cis, rotate

LENGTHS, WIDTHS, THETA = (3, 4, 5), (4, 6, 6), 256.0


def slow_positions(lengths):
    return [(f, h, w) for f in range(lengths[0]) for h in range(lengths[1]) for w in range(lengths[2])]


def slow_rotate(x, lengths, widths, theta):
    """Pairs (2i, 2i + 1) as complex numbers, one multiplication at a time; x (B, L, H, D) float64."""
    out = x.clone()
    for token, position in enumerate(slow_positions(lengths)):
        pair = 0
        for place, width in zip(position, widths, strict=True):
            for i in range(width // 2):
                turn = cmath.exp(1j * place * theta ** (-2 * i / width))
                real, imag = x[:, token, :, 2 * pair], x[:, token, :, 2 * pair + 1]
                out[:, token, :, 2 * pair] = real * turn.real - imag * turn.imag
                out[:, token, :, 2 * pair + 1] = real * turn.imag + imag * turn.real
                pair += 1
    return out


@pytest.mark.parametrize("theta", [256.0, 10000.0])
def test_rotation_equals_the_slow_table(random, theta):
    x = random(2, 60, 3, 16)
    found = rotate(x, freqs_cis(LENGTHS, WIDTHS, theta))
    assert torch.allclose(found.double(), slow_rotate(x.double(), LENGTHS, WIDTHS, theta), atol=2e-6)


def test_far_positions_are_exact():
    """Angles are float64 until they are turned into cosine and sine, so position 127 is as exact as position 1."""
    x = torch.tensor([1.0, 0.0] * 4).expand(1, 128, 1, 8)
    found = rotate(x, freqs_cis((128,), (8,), 10000.0))[0, :, 0].double().unflatten(-1, (-1, 2))
    for position in range(128):
        for i in range(4):
            turn = cmath.exp(1j * position * 10000.0 ** (-2 * i / 8))
            assert found[position, i].tolist() == pytest.approx([turn.real, turn.imag], abs=1e-7)


def test_position_zero_turns_nothing_and_norms_stay(random):
    x = random(1, 60, 2, 16)
    found = rotate(x, freqs_cis(LENGTHS, WIDTHS, THETA))
    assert torch.equal(found[:, 0], x[:, 0])
    assert torch.allclose(found.norm(dim=-1), x.norm(dim=-1), rtol=1e-5)


def test_scores_depend_on_distance_only(random):
    """q . k is the same for every pair of places with the same offset along all three axes."""
    q, k = (random(1, 1, 1, 16).expand(1, 60, 1, 16) for _ in range(2))
    rope = freqs_cis(LENGTHS, WIDTHS, THETA)
    q, k = rotate(q, rope)[0, :, 0], rotate(k, rope)[0, :, 0]
    positions = slow_positions(LENGTHS)
    scores = {}
    for i, a in enumerate(positions):
        for j, b in enumerate(positions):
            offset = tuple(p - r for p, r in zip(a, b, strict=True))
            scores.setdefault(offset, []).append((q[i] @ k[j]).item())
    assert max(max(s) - min(s) for s in scores.values()) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_rotated_in_float32(random, dtype):
    x = random(1, 60, 2, 16).to(dtype)
    rope = freqs_cis(LENGTHS, WIDTHS, THETA)
    expected = rotate(x.float(), rope).to(dtype)
    assert torch.equal(rotate(x, rope), expected)
    assert torch.equal(in_place.rotate(x, rope), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_in_place_x_is_overwritten_chunk_by_chunk(random, dtype, monkeypatch):
    x = random(2, 60, 2, 16).to(dtype)
    rope = freqs_cis(LENGTHS, WIDTHS, THETA)
    expected = rotate(x, rope)
    monkeypatch.setattr(in_place, "ROPE_CHUNK_TOKENS", 7)
    found = in_place.rotate(x, rope)
    assert torch.equal(found, expected) and found.data_ptr() == x.data_ptr()


def test_what_a_compiler_sees_is_the_same(random, monkeypatch):
    x, rope = random(2, 60, 2, 16), freqs_cis(LENGTHS, WIDTHS, THETA)
    expected = rotate(x.clone(), rope)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for form in (rotate, in_place.rotate):
        assert torch.allclose(form(x, rope), expected, atol=1e-6)


def test_gradients_flow(random):
    x = random(1, 60, 2, 16).requires_grad_()
    rotate(x, freqs_cis(LENGTHS, WIDTHS, THETA)).square().sum().backward()
    assert torch.allclose(x.grad, 2 * x.detach(), atol=1e-4)


def test_axes_take_2_3_and_3_eighths_of_a_head():
    assert VideoConfig().rope_axes == (36, 54, 54)
    assert VideoConfig(dim=128, heads=4, kv_heads=4).rope_axes == (8, 12, 12)
    with refused("heads", "value", "24", "multiple of 16"):
        VideoConfig(dim=96, heads=4, kv_heads=4)


@pytest.mark.parametrize("frames, height, width", [(65, 4, 4), (2, 260, 4), (2, 4, 516)])
def test_a_clip_beyond_the_released_table_runs(frames, height, width):
    """The official table ends at 64 x 128 x 128 positions; here an axis goes on."""
    network = copy.deepcopy(golden.model("cfg2"))
    x = torch.zeros(1, 16, frames, height, width)
    with torch.no_grad():
        v = network(x, torch.zeros(1), torch.zeros(1, 2, 40), None, torch.zeros(1), PatchSize(1, 2))
    assert v.shape == x.shape and bool(torch.isfinite(v).all())
