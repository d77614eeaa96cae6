"""CPU kernels: torch's numbers, and torch's layers wherever something else is asked for."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from lumina_core.network import cpu_kernels
from lumina_core.network.cpu_kernels import Linear, RMSNorm, columns_first, gated_linear, norm_and_factor


@pytest.fixture
def used(monkeypatch):
    """Names of the kernels that ran instead of torch's layers."""
    calls = []
    for name in ("linear", "rms_norm"):
        real = getattr(cpu_kernels, name)
        monkeypatch.setattr(cpu_kernels, name, lambda *a, real=real, name=name: calls.append(name) or real(*a))
    return calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 7, 24), (3, 24), (2, 1, 5, 24), (4, 16, 24), (2, 100, 24)])
def test_linear_is_torchs(random, used, bias, shape):
    layer, x = Linear(24, 40, bias=bias), random(*shape)
    exact = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with torch.no_grad():
        found = layer(x)
    assert used == ["linear"] * cpu_kernels.HAS_ONEDNN
    assert found.shape == exact.shape and torch.allclose(found.double(), exact, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 16, 100])
def test_linear_of_a_weight_by_columns_is_torchs(random, monkeypatch, bias, rows):
    layer, x = Linear(24, 40, bias=bias), random(rows, 24)
    before = layer.weight.detach().clone()
    exact = nn.functional.linear(x.double(), before.double(), layer.bias.detach().double() if bias else None)
    columns_first(layer)
    assert layer.weight.t().is_contiguous() == cpu_kernels.HAS_ONEDNN and torch.equal(layer.weight, before)
    if cpu_kernels.HAS_ONEDNN:  # for no number of rows torch's own product then
        monkeypatch.setattr(cpu_kernels.F, "linear", None)
    with torch.no_grad():
        assert torch.allclose(layer(x).double(), exact, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [nn.Linear, Linear], ids=["torch's", "ours"])
def test_gated_linear_is_torchs(random, make, bias):
    gate, layer, x = make(24, 40, bias=bias), make(24, 40, bias=bias), random(2, 7, 24)
    before = x.clone()
    with torch.no_grad():
        exact = nn.functional.silu(gate(x).double()) * layer(x).double()
        assert torch.allclose(gated_linear(x, gate, layer).double(), exact, atol=1e-6)
    assert torch.equal(x, before)


class Doubled(Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def doubled(layer, how):
    """The layer, or another with its weights, so changed that each call gives twice as much."""
    if how == "subclass":
        changed = Doubled(24, 40, bias=False)
        changed.weight = layer.weight
        return changed
    real = layer.forward
    if how == "another forward":
        layer.forward = lambda x: 2 * real(x)
    if how == "hook":
        layer.register_forward_hook(lambda layer, inputs, output: 2 * output)
    if how == "hook before":
        layer.register_forward_pre_hook(lambda layer, inputs: (2 * inputs[0],))
    return layer


@pytest.mark.parametrize("how", ["subclass", "another forward", "hook", "hook before"])
@pytest.mark.parametrize("which", [0, 1], ids=["gate", "other"])
def test_what_stands_behind_a_linear_layers_call_is_not_passed_by(random, how, which):
    layers, x = [Linear(24, 40, bias=False) for _ in range(2)], random(5, 24)
    with torch.no_grad():
        parts = [layer(x) * (1 + (i == which)) for i, layer in enumerate(layers)]
        layers[which] = doubled(layers[which], how)
        assert torch.allclose(gated_linear(x, *layers), nn.functional.silu(parts[0]) * parts[1], atol=1e-5)


@pytest.mark.parametrize("how", ["another forward", "hook"])
def test_what_stands_behind_a_norms_call_is_not_passed_by(random, how):
    norm, x, factor = RMSNorm(24, eps=1e-3), random(5, 24), random(24)
    with torch.no_grad():
        expected = 2 * norm(x) * factor
        normed, factor = norm_and_factor(doubled(norm, how), x, factor)
        assert torch.allclose(normed * factor, expected, atol=1e-5)


def test_half_precision_and_other_layers_stay_by_rows():
    network = nn.Sequential(Linear(24, 40).to(torch.bfloat16), nn.Linear(24, 40))
    columns_first(network)
    assert all(layer.weight.is_contiguous() for layer in network)


def test_linear_of_a_view_that_is_not_contiguous(random):
    layer, x = Linear(24, 40), random(2, 24, 7).transpose(1, 2)
    with torch.no_grad():
        assert torch.allclose(layer(x), nn.functional.linear(x, layer.weight, layer.bias), atol=1e-6)


def test_rms_norm_is_torchs(random, used):
    layer, x = RMSNorm(24, eps=1e-3), random(2, 5, 24) * 1e-2
    layer.weight.data.normal_()
    before = x.clone()
    with torch.no_grad():
        found = layer(x)
    assert used == ["rms_norm"]
    assert torch.allclose(found, nn.functional.rms_norm(x, (24,), layer.weight, 1e-3), atol=1e-6)
    assert torch.equal(x, before)


@pytest.mark.parametrize("case", ["gradients", "bf16", "compiling", "autocast"])
def test_elsewhere_torchs_own_layers_run(random, used, monkeypatch, case):
    dtype = torch.bfloat16 if case == "bf16" else torch.float32
    layers, x = [Linear(24, 24).to(dtype), RMSNorm(24).to(dtype)], random(5, 24).to(dtype)
    if case == "compiling":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=case == "autocast")
    with torch.set_grad_enabled(case == "gradients"), autocast:
        for layer in layers:
            layer(x)
    assert used == []


FAULTS = """
import resource
import torch
from lumina_core import MultiScaleNextDiT, PatchSize
from lumina_core.network.config import VideoConfig
from lumina_core.network.cpu_kernels import prepare_for_cpu
from lumina_core.network.ops import CPU_OPS

torch.set_num_threads(1)
config = VideoConfig(dim=512, layers=1, heads=8, kv_heads=8, ffn_hidden=1536, text_dim=64)
network = MultiScaleNextDiT(config, CPU_OPS).requires_grad_(False)
prepare_for_cpu(network)
x, t = torch.randn(1, 16, 8, 16, 32), torch.zeros(1)
with torch.no_grad():
    text = network.cache_text(torch.randn(1, 8, 64), None)
    counts = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
    for _ in range(8):
        network(x, t, text, None, t, PatchSize(1, 2))
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(min(after - before for before, after in zip(counts, counts[1:])))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc: whether freed memory is kept is unchecked")
def test_what_a_pass_frees_serves_the_next_one():
    """Page faults of the best of some passes; without it every pass of this size has thousands."""
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)  # noqa: S603
    assert int(done.stdout) < 500
