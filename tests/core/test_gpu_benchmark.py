"""The GPU benchmark: every line of it on a small network, its conclusions from invented seconds, its budget."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from gpu_parts import figures, report  # noqa: E402 - found through the line above
from gpu_parts.budget import RESERVE, Budget  # noqa: E402
from gpu_parts.measure import Shape  # noqa: E402

from lumina_core.sampling.presets import preset_clip  # noqa: E402

CLIPS = tuple(Shape(name, preset_clip(name).size.latent()) for name in ("f16F64R512", "f24F96R960"))
SECONDS = {"2x4": 0.1, "2x2": 0.5, "1x2": 2.0}


def run(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, flags)])
    runpy.run_path(str(BENCHMARKS / "gpu.py"), run_name="__main__")


@pytest.fixture
def rows():
    return [
        {"preset": clip.preset, "patch": patch, "batch": batch, "flops": 1e12 * batch, "seconds": seconds * batch,
         "peak_bytes": int(1e9 * batch)}
        for clip in CLIPS for patch, seconds in SECONDS.items() for batch in (1, 2)
    ]  # fmt: skip


def result(rows, compiled=()):
    streamed = [{"preset": "f16F64R512", "peak_bytes": 5}, None]
    return {"eager": rows, "compiled": list(compiled), "matmul": {"flops": 1e12}, "streamed": streamed}


def test_the_whole_script_on_a_small_network(monkeypatch, capsys, tmp_path):
    document = tmp_path / "performance.md"
    run(monkeypatch, "--device", "cpu", "--tiny", "--backend", "eager", "--write", document)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(found["eager"]) == len(found["compiled"]) == 12 and all(found["streamed"])
    assert found["compile_note"] is None and found["skipped"] == []
    for row in found["figures"]["presets"]:
        assert row["ratio"] > 0 and row["multi_seconds"] > 0 and row["share"] > 0
    text = document.read_text(encoding="utf-8")
    assert "not yet measured" in text and str(round(found["eager"][0]["seconds"], 3)) not in text
    torch._dynamo.reset()


def test_without_a_gpu_it_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="1"):
        run(monkeypatch)
    assert capsys.readouterr().err.startswith("No CUDA GPU is at hand")
    with pytest.raises(SystemExit, match="1"):
        run(monkeypatch, "--device", "cpu")
    assert "add --tiny" in capsys.readouterr().err


def test_presets_are_their_calls_times_the_measured_seconds(rows):
    eager, compiled = figures.conclude(result(rows), CLIPS, 7)["presets"][:2]
    calls = figures.calls_of(figures.PRESETS["f16F64R512-MultiScale"])
    # The published counts of steps (guided): 28 (28), 26 (26), 15 (5).
    assert calls == {("2x4", 2): 28, ("2x2", 2): 26, ("1x2", 2): 5, ("1x2", 1): 10}
    multi, single = 56 * 0.1 + 52 * 0.5 + 20 * 2.0, 2.0 * (59 * 2 + 10)
    assert eager["multi_seconds"] == pytest.approx(multi)
    assert eager["ratio"] == pytest.approx(multi / single)
    assert eager["share"] == pytest.approx(0.5)
    assert (eager["peak_bytes"], eager["streamed_bytes"]) == (2e9, 5)
    assert compiled["ratio"] is compiled["share"] is compiled["peak_bytes"] is None


def test_a_draft_is_one_patch_size(rows):
    draft = figures.conclude(result(rows), CLIPS, 7)["draft_seconds"]
    assert draft == {"eager": pytest.approx((59 * 2 + 10) * 0.1), "compiled": None}


def test_a_missing_measurement_leaves_a_figure_out(rows):
    partial = [row for row in rows if (row["patch"], row["batch"]) != ("1x2", 2)]
    eager = figures.conclude(result(partial), CLIPS, 7)["presets"][0]
    assert eager["ratio"] is eager["multi_seconds"] is eager["peak_bytes"] is None and eager["share"] is not None


def test_every_cell_of_an_empty_report_says_so():
    for text in (report.gpu_section({}, "cpu"), report.compile_section({}, "cpu")):
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        assert len(lines) > 10
        assert all(line.split("|")[-2].strip() in ("not yet measured", "found", "GB at the peak") or "---" in line
                   for line in lines if "seconds multi-scale" not in line)  # fmt: skip


def test_the_budget_names_what_does_not_fit():
    now = [0.0]
    budget = Budget(100, clock=lambda: now[0])
    assert budget.allows("a small thing", 100 - RESERVE)
    now[0] = 60.0
    assert not budget.allows("a large thing", 26)
    assert budget.skipped == ["a large thing: about 26 s, and 25 s were left"]
