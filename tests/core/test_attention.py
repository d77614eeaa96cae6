"""Attention per device: what is chosen and why, against two products and a softmax, with fake flash-attn modules."""

import logging
import sys
from types import ModuleType

import pytest
import torch

from lumina_core.network import attention
from lumina_core.network.attention import TORCH, best_attention, choose_attention, plain_attention, torch_attention

CPU = torch.device("cpu")
WIDTH = 16


@pytest.fixture(autouse=True)
def fresh_choice():
    choose_attention.cache_clear()
    yield
    choose_attention.cache_clear()


@pytest.fixture
def qkv(random):
    return random(2, 4, 33, WIDTH), random(2, 2, 7, WIDTH), random(2, 2, 7, WIDTH)


def reference(q, k, v, mask=None):
    k, v = (x.repeat_interleave(2, dim=1).double() for x in (k, v))
    scores = q.double() @ k.transpose(2, 3) / WIDTH**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def with_mask():
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, 1] = mask[1, 4:] = False
    return mask


@pytest.mark.parametrize("attend", [best_attention, torch_attention, plain_attention])
@pytest.mark.parametrize("mask", [None, with_mask()], ids=["all", "masked"])
def test_values(attend, mask, qkv):
    assert torch.allclose(attend(*qkv, mask).double(), reference(*qkv, mask), atol=1e-6)


def test_shared_heads_are_not_copied(qkv, monkeypatch):
    expected = torch_attention(*qkv)
    monkeypatch.setattr(attention, "repeat_heads", lambda *_: pytest.fail("keys were repeated"))
    assert torch.equal(torch_attention(*qkv), expected)


def test_heads_are_repeated_where_no_kernel_shares_them(qkv, monkeypatch):
    expected = torch_attention(*qkv)
    monkeypatch.setattr(attention, "_reads_shared_heads", lambda *_: False)
    seen = []
    inner = torch.nn.functional.scaled_dot_product_attention

    def spy(q, k, v, **options):
        seen.append((k.shape[1], options.get("enable_gqa", False)))
        return inner(q, k, v, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", spy)
    assert torch.equal(torch_attention(*qkv), expected)
    assert seen == [(4, False)]


def test_the_plain_one_holds_few_scores_at_a_time(qkv, monkeypatch):
    expected = plain_attention(*qkv, with_mask())
    monkeypatch.setattr(attention, "_SCORES", 2 * 4 * 7 * 5)
    rows = []
    inner = torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda x, dim: rows.append(x.shape[2]) or inner(x, dim))
    assert torch.allclose(plain_attention(*qkv, with_mask()), expected, atol=1e-6)
    assert rows == [5] * 6 + [3]


def test_on_a_cpu_it_is_torch_and_said_once(qkv, caplog):
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            best_attention(*qkv)
    (line,) = caplog.messages
    assert line.startswith("Attention on cpu in torch.float32, heads 16 wide: torch's, key and value heads shared; ")
    assert "flash-attn 3 needs an NVIDIA GPU; flash-attn 2 needs an NVIDIA GPU" in line


def fake_flash(module, returns_tuple=False, damage=None):
    """A flash-attn module that computes by torch and notes its calls."""

    def flash_attn_func(q, k, v):
        fake.calls.append(tuple(q.shape))
        if isinstance(damage, Exception):
            raise damage
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2)
        out = out if damage is None else out * damage
        return (out, None) if returns_tuple else out

    fake = ModuleType(module)
    fake.calls, fake.flash_attn_func = [], flash_attn_func
    return fake


@pytest.fixture
def gpu(monkeypatch):
    """gpu(capability, **modules): pretend that the CPU is such a GPU, with these modules installed."""

    def pretend(capability, **modules):
        monkeypatch.setattr(attention, "cuda_capability", lambda device: capability)
        for name in ("flash_attn_interface", "flash_attn"):
            # None is what makes an import fail as if nothing were installed.
            monkeypatch.setitem(sys.modules, name, modules.get(name))

    return pretend


def chosen(dtype=torch.bfloat16, width=WIDTH):
    return choose_attention(CPU, dtype, width)


@pytest.mark.parametrize(
    "capability, wanted",
    [((9, 0), "flash-attn 3"), ((10, 0), "flash-attn 2"), ((8, 6), "flash-attn 2"), ((7, 5), TORCH)],
)
def test_the_best_that_the_card_can_run(gpu, capability, wanted, caplog):
    with caplog.at_level(logging.INFO):
        gpu(capability, flash_attn_interface=fake_flash("", returns_tuple=True), flash_attn=fake_flash(""))
        assert chosen() == wanted
    assert len(caplog.messages) == 1 and (wanted if wanted != TORCH else "torch's") in caplog.text
    assert ("not for compute capability 7.5" in caplog.text) == (wanted == TORCH)


def test_flash_is_called_in_its_layout_and_never_with_a_mask(gpu, qkv):
    flash = fake_flash("flash_attn_interface", returns_tuple=True)
    gpu((9, 0), flash_attn_interface=flash)
    half = [x.bfloat16() for x in qkv]
    found = best_attention(*half)
    assert flash.calls[-1] == (2, 33, 4, WIDTH)
    assert torch.allclose(found.double(), reference(*half), atol=0.02)
    calls = len(flash.calls)
    assert torch.allclose(best_attention(*half, with_mask()).double(), reference(*half, with_mask()), atol=0.02)
    assert len(flash.calls) == calls


def test_full_precision_is_not_for_flash(gpu, caplog):
    gpu((9, 0), flash_attn=fake_flash("flash_attn"))
    with caplog.at_level(logging.INFO):
        assert chosen(torch.float32) == TORCH
    assert "flash-attn 2 needs bf16 or fp16" in caplog.text


def test_not_installed_is_no_warning(gpu, caplog):
    gpu((8, 0))
    with caplog.at_level(logging.INFO):
        assert chosen() == TORCH
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "flash-attn 2 is not installed" in caplog.text


@pytest.mark.parametrize(
    "damage, told",
    [
        (RuntimeError("head size 16 is not supported\nand more"), "RuntimeError: head size 16 is not supported"),
        (ImportError("undefined symbol: _ZN3c10"), "ImportError: undefined symbol: _ZN3c10"),
        (float("nan"), "its values are off by nan"),
        (0.5, "its values are off by 0."),
    ],
)
def test_a_broken_kernel_is_one_warning_and_the_next_one_is_taken(gpu, caplog, damage, told):
    gpu((9, 0), flash_attn_interface=fake_flash("", damage=damage), flash_attn=fake_flash("flash_attn"))
    with caplog.at_level(logging.INFO):
        assert chosen() == "flash-attn 2"
    warning, choice = caplog.records
    assert (warning.levelname, choice.levelname) == ("WARNING", "INFO")
    assert warning.message.startswith(f"flash-attn 3 is installed but cannot be used here: {told}")


def test_trying_a_kernel_leaves_the_random_numbers_alone(gpu):
    gpu((9, 0), flash_attn_interface=fake_flash(""))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert chosen() == "flash-attn 3"
    assert torch.equal(torch.rand(4), expected)
