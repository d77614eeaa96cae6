"""The benchmark of whole schedules: its counts, its scaled network and its document, without a clock."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import schedule
from benchmarks.load import Round, Timed
from benchmarks.tables.paper import TABLE_2
from lumina_core import PatchSize, SamplingPlan
from lumina_core.cost.flops import TextTokens, forward_cost
from lumina_core.network.config import VideoConfig
from lumina_core.shapes.latents import LatentSize

FINE, MIDDLE, COARSE = PatchSize(1, 2), PatchSize(2, 2), PatchSize(2, 4)


def test_flops_are_those_of_the_papers_table():
    found = {name: schedule.by_flops(name, schedule.real(name)) for name in schedule.NAMES}
    assert found["f16F64R512"][schedule.COMBINED] == pytest.approx(0.331, abs=5e-4)
    assert found["f24F96R960"][schedule.COMBINED] == pytest.approx(0.282, abs=5e-4)
    for row, theirs in TABLE_2.items():
        assert found["f16F64R512"][row] == pytest.approx(theirs["time"], abs=0.01)


def test_steps_are_the_released_presets():
    steps = schedule.steps_of(schedule.plans("f24F96R960")[schedule.COMBINED])
    assert steps == {(COARSE, True): 30, (MIDDLE, True): 24, (FINE, True): 6, (FINE, False): 9}
    steps = schedule.steps_of(schedule.plans("f16F64R512")["2x2"])
    assert steps == {(MIDDLE, True): 59, (MIDDLE, False): 10}


@pytest.mark.parametrize("name", schedule.NAMES)
def test_the_scaled_network_keeps_the_share_of_self_attention(name):
    whole, small = schedule.real(name), schedule.scaled(name, 2)
    assert small.config.block.head_dim == whole.config.block.head_dim
    for patch, share in schedule.shares(whole).items():
        assert schedule.shares(small)[patch] == pytest.approx(share, abs=0.04)
    for patch in schedule.PATCHES:
        tokens = forward_cost(whole.config, whole.size, patch, 1).tokens
        assert forward_cost(small.config, small.size, patch, 1).tokens * schedule.SCALE == tokens
        small.size.check(patch)


def tiny() -> schedule.Case:
    config = VideoConfig(dim=32, layers=1, heads=2, kv_heads=1, ffn_hidden=64, text_dim=24, cond_dim=16)
    return schedule.Case(config, LatentSize(2, 4, 8), TextTokens(5, 2))


def test_a_step_asks_the_network_once_as_named():
    runs = schedule.Runs("f16F64R512", tiny(), "cpu", torch.float32)
    asked = []
    runs.network.register_forward_pre_hook(lambda _, inputs: asked.append((inputs[5], len(inputs[0]) == 2)))
    for step, run in runs.steps().items():
        run()
        assert asked.pop() == step
        assert not asked


def test_rows_are_sums_of_steps(monkeypatch, tmp_path, capsys):
    seconds = {(FINE, True): 2.0, (FINE, False): 1.0, (MIDDLE, True): 0.5, (MIDDLE, False): 0.25,
               (COARSE, True): 0.125, (COARSE, False): 0.0625}  # fmt: skip
    monkeypatch.setattr(schedule.Quiet, "time", lambda self, calls: Timed((Round(seconds, 0.0, True),)))
    monkeypatch.setattr(schedule, "scaled", lambda name, layers: tiny())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["schedule.py", "--threads", "1", "--write", str(tmp_path / "performance.md")])
    schedule.main()
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["schedule"]
    found = results["f24F96R960"]["cpu"]
    assert found["seconds"]["1x2"] == 60 * 2.0 + 9 * 1.0
    assert found["seconds"]["combined"] == 30 * 0.125 + 24 * 0.5 + 6 * 2.0 + 9 * 1.0
    assert found["relative"]["combined"] == found["seconds"]["combined"] / found["seconds"]["1x2"]
    assert results["f16F64R512"]["cpu"]["check"]["sum_s"] == results["f16F64R512"]["cpu"]["seconds"]["combined"]
    text = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "| GPU, at most 0.30 wanted" in text and "not yet measured" in text and "1 round)" in text


def test_a_plan_without_such_a_step_is_refused(monkeypatch):
    monkeypatch.setitem(schedule.PRESETS, "f16F64R512", SamplingPlan(patch="1x2", guidance=0, points=3))
    with pytest.raises(SystemExit, match="Step 1 of f16F64R512 is not guided, expected the opposite"):
        schedule.Runs("f16F64R512", tiny(), "cpu", torch.float32).step((FINE, True))
