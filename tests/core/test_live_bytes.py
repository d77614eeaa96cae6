"""The counter of live bytes behind the memory benchmarks and the bounds on the network's allocations."""

import pytest
import torch

from benchmarks.live_bytes import LiveBytes

MIB = 2**20


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_peak_is_of_what_lives_at_once(device: str) -> None:
    before = torch.zeros(4 * MIB // 4, device=device)
    with LiveBytes() as live:
        a = torch.zeros(MIB // 4, device=device)
        b = a + 1
        view = b[:8].view(2, 4)
        b.add_(before[: len(b)])
        del a, b
        assert live.live == MIB, "a view keeps its storage"
        del view
        assert live.live == 0
        c = torch.empty(3 * MIB, device=device, dtype=torch.int8)
        torch.mul(c, 2, out=c)
    assert live.peak == 3 * MIB
    assert live.total == 5 * MIB
    assert [str(made.operator) for made in live.at_peak] == ["aten.empty"]


def test_names_the_line_that_made_the_largest() -> None:
    linear = torch.nn.Linear(8, 1024)
    with LiveBytes() as live, torch.no_grad():
        small = torch.ones(2, 8)
        linear(small)
    largest = live.at_peak[0]
    assert largest.shape == (2, 1024) and largest.bytes == 2 * 1024 * 4
    assert largest.line.startswith("test_live_bytes.py:")
    assert "aten.addmm at test_live_bytes.py:" in str(largest)
