"""README and docs name files that exist, README lists every node and workflow, and the API pages every public name."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import lumina_core

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


def documented() -> set[str]:
    """Modules with a section on a page of docs/api."""
    pages = (page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    return {module for text in pages for module in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)}


def test_every_public_name_of_the_package_is_documented():
    homes = {f"lumina_core.{module}" for module in lumina_core._HOMES}
    assert homes - documented() == set()


def types_of_other_modules(module: str) -> set[str]:
    """Modules whose types are bases, fields, arguments or results of the public names of ``module``."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    package = module.rsplit(".", 1)[0].split(".")
    homes = {
        alias.name: ".".join([*package[: len(package) + 1 - node.level], node.module])
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level and node.module
        for alias in node.names
    }
    names = {part.id for used in public_annotations(tree.body) for part in ast.walk(used) if isinstance(part, ast.Name)}
    return {homes[name] for name in names & homes.keys()}


def public_annotations(body: list[ast.stmt]) -> list[ast.expr]:
    """Bases of public classes, and annotations of public functions, methods and fields."""
    found: list[ast.expr | None] = []
    for node in body:
        if isinstance(node, ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            found += [*(argument.annotation for argument in arguments), node.returns]
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [*node.bases, *public_annotations(node.body)]
    return [annotation for annotation in found if annotation is not None]


@pytest.mark.parametrize("module", sorted(documented()))
def test_types_in_documented_signatures_are_documented(module):
    assert types_of_other_modules(module) - documented() == set()


def test_no_page_holds_a_merge_conflict():
    folders = [ROOT / name for name in ("docs", "web", "locales")]
    files = [*ROOT.glob("*.md"), *(file for folder in folders for file in folder.rglob("*.*"))]
    texts = [file for file in files if file.suffix in (".md", ".json", ".js", ".css")]
    marks = re.compile(r"^(<<<<<<< |>>>>>>> )", re.MULTILINE)
    assert [str(file) for file in texts if marks.search(file.read_text(encoding="utf-8"))] == []
    assert len(texts) > 100
