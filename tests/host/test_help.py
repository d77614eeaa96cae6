"""The help pages say what the nodes' schemas say: every input and output, its type, default and range."""

import ast
import re

import pytest
from hosts import REPOSITORY
from server import PACK

from lumina_core.bundle import find_bundle
from lumina_core.checkpoint import read_video_config
from lumina_core.config import VideoConfig
from lumina_core.cost import plan_cost
from lumina_core.presets import PRESETS, preset_clip

DOCS = REPOSITORY / "web" / "docs"
CELL_BORDER = re.compile(r"(?<!\\)\|")
INPUT_COLUMNS = ["Input", "Type", "Default", "Range", "Meaning"]


@pytest.fixture(scope="module")
def ours(server):
    """/object_info of our nodes, by id."""
    return {node_id: info for node_id, info in server.object_info().items() if node_id.startswith("LuminaVideo")}


def tables(page: str) -> list[list[list[str]]]:
    """Every table of a page: rows of cells, the header first, escaped bars as bars."""
    found, rows = [], []
    for line in [*page.splitlines(), ""]:
        if line.startswith("|"):
            cells = CELL_BORDER.split(line.strip().removeprefix("|").removesuffix("|"))
            rows.append([cell.strip().replace("\\|", "|") for cell in cells])
        elif rows:
            found.append([rows[0], *rows[2:]])
            rows = []
    return found


def table(page: str, first: str) -> list[list[str]]:
    """The rows of the table whose first column is called `first`, without its header."""
    (rows,) = [rows[1:] for rows in tables(page) if rows[0][0] == first]
    return rows


def value(cell: str):
    """What a cell stands for: text between backticks, "" for (empty), None for a dash."""
    if cell == "-":
        return None
    return "" if cell == "(empty)" else cell.removeprefix("`").removesuffix("`")


def schema_inputs(info: dict) -> dict[str, tuple[str, dict]]:
    """Type and options of every input, in the node's order."""
    inputs = {}
    for group in ("required", "optional"):
        for name, spec in info["input"].get(group, {}).items():
            inputs[name] = (spec[0], spec[1] if len(spec) > 1 else {})
    return inputs


def page_of(node_id: str) -> str:
    return (DOCS / node_id / "en.md").read_text(encoding="utf-8")


def test_pages_are_those_of_the_nodes(ours):
    assert {file.parent.name for file in DOCS.glob("*/en.md")} == set(ours)


def test_host_serves_the_pages(server, ours):
    for node_id, info in ours.items():
        page = server.get(f"/extensions/{PACK}/docs/{node_id}/en.md").decode()
        assert page == page_of(node_id)
        assert page.splitlines()[0] == f"# {info['display_name']}"


def test_inputs_are_listed_in_order_with_their_types(ours):
    for node_id, info in ours.items():
        page = page_of(node_id)
        assert [rows[0] for rows in tables(page)][0] == INPUT_COLUMNS, node_id
        listed = [(value(row[0]), row[1]) for row in table(page, "Input")]
        assert listed == [(name, kind) for name, (kind, _) in schema_inputs(info).items()], node_id


def test_optional_inputs_are_called_so(ours):
    for node_id, info in ours.items():
        called = [value(row[0]) for row in table(page_of(node_id), "Input") if row[4].startswith("Optional.")]
        assert called == list(info["input"].get("optional", {})), node_id


def test_defaults_are_the_schemas(ours):
    for node_id, info in ours.items():
        inputs = schema_inputs(info)
        for name, _, default, *_ in table(page_of(node_id), "Input"):
            expected = inputs[value(name)][1].get("default")
            written = value(default)
            if isinstance(expected, (int, float)):
                written = type(expected)(written)
            assert written == expected, f"{node_id}.{name}"


def test_ranges_are_the_schemas(ours):
    for node_id, info in ours.items():
        inputs = schema_inputs(info)
        for name, kind, default, span, _ in table(page_of(node_id), "Input"):
            options = inputs[value(name)][1]
            if kind in ("INT", "FLOAT"):
                numbers = [float(number) for number in re.findall(r"-?[\d.]+", span)]
                step = [options["step"]] if "step" in options else []
                assert numbers == [float(n) for n in (options["min"], options["max"], *step)], f"{node_id}.{name}"
            elif kind == "COMBO" and value(default) is not None:
                assert re.findall(r"`([^`]+)`", span) == options["options"], f"{node_id}.{name}"


def test_outputs_are_listed_in_order_with_their_types(ours):
    for node_id, info in ours.items():
        rows = table(page_of(node_id), "Output")
        assert [(value(row[0]), row[1]) for row in rows] == list(
            zip(info["output_name"], info["output"], strict=True)
        ), node_id


@pytest.mark.parametrize("name", PRESETS)
def test_preset_page_gives_the_presets_numbers(name: str):
    page = page_of("LuminaVideoPreset")
    plan, clip = PRESETS[name], preset_clip(name)
    header = next(rows[0] for rows in tables(page) if rows[0][0] == "Output")
    column = header.index(name.removesuffix("-MultiScale"))
    written = {value(row[0]): value(row[column]) for row in table(page, "Output") if value(row[0]) != "patch"}
    size = {"width": clip.size.width, "height": clip.size.height, "frames": clip.size.frames, "fps": float(clip.fps)}
    assert written == {key: str(size[key] if key in size else getattr(plan, key)) for key in written}
    bundle = find_bundle("mini") if name.startswith("mini") else None
    config = read_video_config(bundle.checkpoint) if bundle else VideoConfig()
    share = plan_cost(plan, clip.size.latent(), config).relative
    assert [f"`{name}`", f"`{plan.patch}`", f"{100 * share:.0f} %"] in table(page, "Preset")


def texts_of_the_code() -> str:
    """Every string of the code, one a line, with "..." for what is filled in."""
    lines = []
    folders = (REPOSITORY / part for part in ("lumina_core", "lumina_core/audio", "nodes"))
    for file in (file for folder in folders for file in folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                lines.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(lines)


def test_quoted_messages_are_in_the_code():
    texts = texts_of_the_code()
    for file in DOCS.glob("*/en.md"):
        for rows in tables(file.read_text(encoding="utf-8")):
            for message, *_ in rows[1:] if rows[0][0] == "Message" else []:
                parts = [re.escape(part) for part in message.split("...")]
                assert re.search(".*".join(parts), texts), f"{file.parent.name}: {message}"


def test_pages_are_plain_tables():
    for file in DOCS.glob("*/en.md"):
        for rows in tables(file.read_text(encoding="utf-8")):
            assert {len(row) for row in rows} == {len(rows[0])}, f"{file.parent.name}: escape the bar in a cell"
