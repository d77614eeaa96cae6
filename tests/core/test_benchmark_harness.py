"""What every benchmark shares: records, tables, targets, and documents that show the newest results."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import render
from benchmarks.common import harness
from benchmarks.common.comparison import mean, paired, standard_error, target
from benchmarks.tables import TABLES, Table
from lumina_core.errors import LuminaError

TABLE = Table("sizes", "sample", "group/rows", {"name": "{name}", "share": "{share:.1%} ± {error:.0%}", "met": "{met}"})
FIGURES = {"group": {"rows": [{"name": "a", "share": 0.98765432, "error": 0.01, "met": True},
                              {"name": "long name", "share": None, "error": 0.01, "met": False}]}}  # fmt: skip
RENDERED = """\
| name      | share      | met    |
| --------- | ---------- | ------ |
| a         | 98.8% ± 1% | yes    |
| long name |            | **no** |"""


@pytest.fixture
def sample(monkeypatch, tmp_path):
    """A benchmark called `sample` that has one table and its results in `tmp_path`."""
    monkeypatch.setitem(TABLES, "sizes", TABLE)
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["sample.py", "--save", "--mode", "two words"])
    return tmp_path


def test_a_run_prints_its_table_and_its_record_last_and_appends_it(sample, capsys):
    args = harness.make_parser("Text.").parse_args(["--save"])
    harness.run("sample", args, lambda _: FIGURES)
    harness.run("sample", args, lambda _: FIGURES)
    printed = capsys.readouterr().out
    assert RENDERED in printed
    record = json.loads(printed.splitlines()[-1])
    assert record["command"] == "python -m benchmarks.sample --mode 'two words'"
    assert record["figures"]["group"]["rows"][0]["share"] == 0.98765
    assert set(record) == {"benchmark", "command", "date", "machine", "versions", "figures"}
    lines = (sample / "sample.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [record, record]


def test_a_lumina_error_is_one_sentence(sample, capsys):
    def measure(_):
        raise LuminaError("There is no bundle.", field="bundle", kind="missing")

    with pytest.raises(SystemExit, match=r"^There is no bundle\.$"):
        harness.run("sample", harness.make_parser("Text.").parse_args([]), measure)
    assert not list(sample.iterdir())


def test_a_count_below_its_least_is_refused(capsys):
    parser = harness.make_parser("Text.", threads=1)
    with pytest.raises(SystemExit):
        parser.parse_args(["--threads", "0"])
    assert "at least 1" in capsys.readouterr().err


def test_a_document_shows_the_newest_line(sample):
    old = {"figures": {"group": {"rows": [{"name": "old"}]}}}
    lines = "".join(json.dumps(line) + "\n" for line in (old, {"figures": FIGURES}))
    (sample / "sample.jsonl").write_text(lines, encoding="utf-8")
    before = "Text.\n\n<!-- table: sizes -->\n\nold\n\n<!-- end -->\n\nMore.\n"
    after = f"Text.\n\n<!-- table: sizes -->\n\n{RENDERED}\n\n<!-- end -->\n\nMore.\n"
    assert render.rendered(before, sample) == after == render.rendered(after, sample)
    with pytest.raises(KeyError):
        render.rendered(before.replace("sizes", "unknown"), sample)


def test_the_documents_show_the_results(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["render.py", "--check"])
    assert render.main() == 0, f"{capsys.readouterr().out} Run: python -m benchmarks.render"


@pytest.mark.parametrize("file", sorted(render.RESULTS.glob("*.jsonl")), ids=lambda file: file.stem)
def test_every_line_of_results_is_a_record_of_its_benchmark(file):
    assert (file.parents[1] / f"{file.stem}.py").is_file()
    for line in file.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        assert record["benchmark"] == file.stem
        assert {"command", "date", "machine", "versions", "figures"} <= set(record)


def test_paired_differences_and_targets():
    difference = paired([0, 0, 0], [1, 2, 3])
    assert (difference.mean, difference.error) == pytest.approx((2, (1 / 3) ** 0.5))
    assert (mean([1, 3]), standard_error([5.0])) == (2, 5)
    assert [target("x", value, 0.5)["met"] for value in (0.5, 0.4, None)] == [True, False, False]
    assert target("x", 0.5, 0.5, maximum=True) == {"figure": "x", "target": "at most 0.5", "measured": 0.5, "met": True}
