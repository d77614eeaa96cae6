"""Calls in a process of their own: what they give, what they used, what happens when they fail."""

from __future__ import annotations

import os
import time

import pytest
import torch

from benchmarks.common import subprocess_timer
from benchmarks.common.subprocess_timer import SubprocessCalls, others_beside


def build(factor: float) -> dict:
    """Runs in the new process."""

    def busy() -> torch.Tensor:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return torch.zeros(1)

    return {
        ("double", 2): lambda: torch.full((2, 3), factor, dtype=torch.bfloat16),
        "process": lambda: torch.tensor(float(os.getpid())),
        "gradients": lambda: torch.tensor(float(torch.is_grad_enabled())),
        "busy": busy,
    }


@pytest.fixture(scope="module")
def side() -> SubprocessCalls:
    return SubprocessCalls(build, 2.5)


@pytest.mark.slow
def test_it_computes_elsewhere_without_gradients_and_hands_over_float32(side):
    assert torch.equal(side.output(("double", 2)), torch.full((2, 3), 2.5))
    assert side.output("process") != os.getpid()
    assert side.output("gradients") == 0


def test_what_it_used_is_not_others_load(side, monkeypatch):
    monkeypatch.setattr(subprocess_timer, "others_clock", lambda: 100.0)
    before = others_beside(side)
    side("busy")
    assert before - others_beside(side) >= 0.2
    monkeypatch.setattr(subprocess_timer, "others_clock", lambda: None)
    assert others_beside(side) is None


@pytest.mark.slow
def test_an_end_before_its_time_is_said():
    side = SubprocessCalls(build, 1.0)
    with pytest.raises(SystemExit, match="ended too early"):
        side("nonsense")
