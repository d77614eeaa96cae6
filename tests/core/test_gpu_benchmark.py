"""The GPU benchmark: every line of it on a small network, and its conclusions from invented seconds."""

import argparse

import pytest
import torch

from benchmarks import gpu
from lumina_core.sampling.presets import PRESETS

SECONDS = {"2x4": 0.1, "2x2": 0.5, "1x2": 2.0}


@pytest.mark.slow
def test_a_small_network_on_the_cpu():
    found = gpu.measure(argparse.Namespace(tiny=True, device="cpu", backend="eager"))
    assert len(found["calls"]) == 2 * 2 * 3 * 2 and found["messages"] == []
    assert all(row["measured"] > 0 for row in found["targets"])
    assert {row["kernel"] for row in found["attention"] if row.get("used")}
    torch._dynamo.reset()


def test_presets_are_their_calls_times_the_measured_seconds():
    calls = gpu.calls_of(PRESETS["f16F64R512-MultiScale"])
    # The published counts of steps (guided): 28 (28), 26 (26), 15 (5).
    assert calls == {("2x4", 2): 28, ("2x2", 2): 26, ("1x2", 2): 5, ("1x2", 1): 10}
    rows = [
        {"preset": "f16F64R512", "kind": "eager", "patch": patch, "batch": batch, "seconds": seconds * batch,
         "share": 0.5, "peak_gb": 3.0 * batch}
        for patch, seconds in SECONDS.items() for batch in (1, 2)
    ]  # fmt: skip
    found = {row["figure"].split(",")[0]: row for row in gpu.targets(rows)}
    multi, single = 56 * 0.1 + 52 * 0.5 + 20 * 2.0, 2.0 * (59 * 2 + 10)
    assert found["multi-scale over single-scale"]["measured"] == pytest.approx(multi / single)
    assert found["seconds of a 2x4 draft"]["measured"] == pytest.approx((59 * 2 + 10) * 0.1)
    assert not found["share of the matmul peak at 1x2"]["met"] and found["GB at the peak"]["met"]
