"""README and docs name files that exist, and README lists every node and workflow."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "lumina_core|nodes|web|tests|scripts|benchmarks|recipes|locales|workflows|docs"


def pages() -> list[Path]:
    return [page for page in PAGES if page.is_file()]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*[\w/])", text)
    # A part in capitals, such as NAME, stands for any name.
    named = [name for name in named if not re.search(r"\b[A-Z]{4,}\b(?!\.md)", name)]
    missing = [name for name in named if not (ROOT / name).exists() and not list(ROOT.glob(f"{name}*"))]
    assert missing == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_anchors_lead_to_a_heading(page):
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        target = page if not link else page.parent / link
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert anchor in slugs, f"{page.name}: {link}#{anchor}"


def test_readme_lists_every_workflow():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [path.stem for path in (ROOT / "workflows").glob("*.json")]
    assert [name for name in names if f"`{name}`" not in readme] == []


def test_readme_lists_every_node():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    nodes = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    titles = [node["display_name"] for node in nodes.values()]
    assert [title for title in titles if f"| {title} |" not in readme] == []
