"""Names of devices and dtypes, and the noise that a seed gives on them."""

import pytest
import torch
from refusals import refused

from lumina_core.runtime import devices
from lumina_core.runtime.devices import pick_device, pick_dtype
from lumina_core.sampling.noise import seeded_noise
from lumina_core.shapes.latents import LatentSize


def test_the_seed_decides_and_dtypes_start_alike():
    size, cpu = LatentSize(2, 4, 4), torch.device("cpu")
    first = seeded_noise((1, *size.shape(16)), 5, cpu, torch.float32)
    assert first.shape == (1, 16, 2, 4, 4)
    assert torch.equal(first, seeded_noise((1, *size.shape(16)), 5, cpu, torch.float32))
    assert not torch.equal(first, seeded_noise((1, *size.shape(16)), 6, cpu, torch.float32))
    assert torch.equal(first.bfloat16(), seeded_noise((1, *size.shape(16)), 5, cpu, torch.bfloat16))
    seeded_noise((1, *size.shape(16)), 2**64 - 1, cpu, torch.float32)


def test_names_of_devices_and_dtypes():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    assert pick_dtype("auto", torch.device("cuda")) == torch.bfloat16
    for name in ("cpu:1", "cuda:", "cuda:x", "mps:0", ""):
        with refused("device", "value", "auto, cpu, cuda"):
            pick_device(name)


OLD, NEW = (7, 5), (8, 0)


@pytest.mark.parametrize(
    "kind, capability, name, dtype, told",
    [
        ("cuda", NEW, "auto", torch.bfloat16, None),
        ("cuda", OLD, "auto", torch.float32, "fp32 is used because compute capability 7.5 has no bf16, which"),
        ("cuda", OLD, "bf16", torch.bfloat16, "bf16 may be slow or fail because compute capability 7.5"),
        ("cuda", OLD, "fp16", torch.float16, None),
        ("cuda", None, "auto", torch.bfloat16, None),
        ("mps", None, "auto", torch.float32, "fp32 is used because MPS has bf16 on some systems only"),
        ("mps", None, "bf16", torch.bfloat16, "bf16 may be slow or fail because MPS"),
        ("cpu", None, "auto", torch.float32, None),
        ("cpu", None, "bf16", torch.bfloat16, None),
    ],
)
def test_a_device_without_bf16_is_told_of_once(monkeypatch, caplog, kind, capability, name, dtype, told):
    devices._warn_once.cache_clear()
    monkeypatch.setattr(devices, "cuda_capability", lambda device: capability)
    for _ in range(2):
        assert pick_dtype(name, torch.device(kind)) == dtype
    assert len(caplog.messages) == (told is not None)
    assert told is None or caplog.messages[0].startswith(told)
