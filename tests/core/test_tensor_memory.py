"""The counter of live tensor bytes that benchmarks and tests of memory use."""

import pytest
import torch

from benchmarks.common.tensor_memory import TensorMemory

MIB = 2**20


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_peak_is_of_what_lives_at_once(device: str) -> None:
    before = torch.zeros(4 * MIB // 4, device=device)
    with TensorMemory() as memory:
        a = torch.zeros(MIB // 4, device=device)
        b = a + 1
        view = b[:8].view(2, 4)
        b.add_(before[: len(b)])
        del a, b
        assert memory.live == MIB, "a view keeps its storage"
        del view
        assert memory.live == 0
        c = torch.empty(3 * MIB, device=device, dtype=torch.int8)
        torch.mul(c, 2, out=c)
    assert memory.peak == 3 * MIB
    assert memory.total == 5 * MIB
    assert [str(made.operator) for made in memory.at_peak] == ["aten.empty"]


def test_names_the_line_that_made_the_largest() -> None:
    linear = torch.nn.Linear(8, 1024)
    with TensorMemory() as memory, torch.no_grad():
        small = torch.ones(2, 8)
        linear(small)
    largest = memory.at_peak[0]
    assert largest.shape == (2, 1024) and largest.bytes == 2 * 1024 * 4
    assert largest.line.startswith("test_tensor_memory.py:")
    assert "aten.addmm at test_tensor_memory.py:" in str(largest)
