"""Names of devices and dtypes, and the noise that a seed gives on them."""

import pytest
import torch

from lumina_core import LuminaError
from lumina_core.devices import pick_device, pick_dtype
from lumina_core.noise import seeded_noise
from lumina_core.shapes import LatentSize


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
        with pytest.raises(LuminaError, match="write auto, cpu, cuda"):
            pick_device(name)
