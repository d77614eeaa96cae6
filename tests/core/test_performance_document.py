"""The document of measured speed: sections come in order and leave each other alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.performance import SECTIONS, section, write_section

ROOT = Path(__file__).parents[2]


def test_a_section_is_replaced_and_the_rest_stays(tmp_path):
    file = tmp_path / "performance.md"
    file.write_text("# Head\n\nBy hand.\n", encoding="utf-8")
    for name in ("gpu", "forward", "memory"):
        write_section(file, name, section(name, f"First {name}.", command="python x.py"))
    before = file.read_text(encoding="utf-8")
    write_section(file, "memory", section("memory", "Second memory.", command="python x.py"))
    assert file.read_text(encoding="utf-8") == before.replace("First memory.", "Second memory.")
    assert before.startswith("# Head\n\nBy hand.\n")
    headings = [line[3:] for line in before.splitlines() if line.startswith("## ")]
    assert headings == [SECTIONS[name] for name in ("forward", "memory", "gpu")]


def test_an_unknown_section_is_refused():
    with pytest.raises(ValueError, match=r"'nonsense' is no section of docs/performance\.md, expected one of forward"):
        section("nonsense", command="python x.py")


def test_the_document_has_every_section_in_order():
    lines = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.endswith("begin -->")] == [f"<!-- {name}: begin -->" for name in SECTIONS]
    assert [line for line in lines if line.endswith("end -->")] == [f"<!-- {name}: end -->" for name in SECTIONS]
    assert [line[3:] for line in lines if line.startswith("## ")] == list(SECTIONS.values())
