"""The help pages say what the nodes' schemas say, in every language: inputs and outputs, types, defaults and ranges."""

import ast
import json
import re

import pytest
from help_pages import DOCS, LANGUAGES, Page, value
from hosts import REPOSITORY
from server import PACK

from lumina_core.checkpoints.video import read_video_config
from lumina_core.cost.flops import plan_cost
from lumina_core.network.config import VideoConfig
from lumina_core.pipelines.bundle import find_bundle
from lumina_core.sampling.presets import PRESETS, preset_clip

PNG = b"\x89PNG\r\n\x1a\n"
TIMELINES = {
    f"LuminaVideo{name}"
    for name in ("PatchSchedule", "Guidance", "Guider", "MotionScore", "Preset", "SplitSigmas", "MultiScaleSampler")
}
each_language = pytest.mark.parametrize("language", LANGUAGES)


@pytest.fixture(scope="module")
def ours(server):
    """/object_info of our nodes, by id."""
    return {node_id: info for node_id, info in server.object_info().items() if node_id.startswith("LuminaVideo")}


def schema_inputs(info: dict) -> dict[str, tuple[str, dict]]:
    """Type and options of every input, in the node's order."""
    inputs = {}
    for group in ("required", "optional"):
        for name, spec in info["input"].get(group, {}).items():
            inputs[name] = (spec[0], spec[1] if len(spec) > 1 else {})
    return inputs


def title(node_id: str, info: dict, language: str) -> str:
    """What the front end calls the node in a language."""
    if language == "en":
        return info["display_name"]
    file = REPOSITORY / "locales" / language / "nodeDefs.json"
    return json.loads(file.read_text(encoding="utf-8"))[node_id]["display_name"]


@each_language
def test_host_serves_a_page_for_every_node(server, ours, language: str):
    assert {file.parent.name for file in DOCS.glob(f"*/{language}.md")} == set(ours)
    for node_id, info in ours.items():
        page = Page(node_id, language)
        assert server.get(f"/extensions/{PACK}/docs/{node_id}/{language}.md").decode() == page.text
        assert page.text.startswith("# ")
        assert page.title == title(node_id, info, language)


def test_no_page_is_left_over():
    assert {file.name for file in DOCS.glob("*/*")} == {"node.png", *(f"{language}.md" for language in LANGUAGES)}


@each_language
def test_translated_pages_can_be_found_by_the_english_name(ours, language: str):
    for node_id, info in ours.items():
        head = Page(node_id, language).text.split("\n|")[0]
        assert info["display_name"] in head, node_id
        assert language == "en" or node_id in head.replace(f"{node_id}/", ""), node_id


@each_language
def test_every_page_has_one_picture_that_the_panel_finds(server, ours, language: str):
    for node_id in ours:
        # The panel puts the address of the pack's docs folder, not the page's, before it.
        ((words, path),) = Page(node_id, language).pictures
        assert (bool(words), path) == (True, f"{node_id}/node.png")
        assert server.get(f"/extensions/{PACK}/docs/{path}").startswith(PNG), node_id


@each_language
def test_every_page_has_one_tip_and_the_timeline_where_there_is_one(ours, language: str):
    for node_id in ours:
        page = Page(node_id, language)
        assert page.sections.count(page.words.tip) == 1, node_id
        assert page.sections.count(page.words.timeline) == (node_id in TIMELINES), node_id


@each_language
def test_inputs_are_listed_in_order_with_their_types(ours, language: str):
    for node_id, info in ours.items():
        page = Page(node_id, language)
        assert page.tables[0][0] == list(page.words.inputs), node_id
        listed = [(value(row[0]), row[1]) for row in page.inputs]
        assert listed == [(name, kind) for name, (kind, _) in schema_inputs(info).items()], node_id


@each_language
def test_optional_inputs_are_called_so(ours, language: str):
    for node_id, info in ours.items():
        page = Page(node_id, language)
        called = [value(row[0]) for row in page.inputs if row[4].startswith(page.words.optional)]
        assert called == list(info["input"].get("optional", {})), node_id


@each_language
def test_defaults_are_the_schemas(ours, language: str):
    for node_id, info in ours.items():
        inputs = schema_inputs(info)
        for name, _, default, *_ in Page(node_id, language).inputs:
            expected = inputs[value(name)][1].get("default")
            written = value(default)
            if isinstance(expected, bool):
                written = {"true": True, "false": False}[written]
            elif isinstance(expected, (int, float)):
                written = type(expected)(written)
            assert written == expected, f"{node_id}.{name}"


@each_language
def test_ranges_are_the_schemas(ours, language: str):
    for node_id, info in ours.items():
        inputs = schema_inputs(info)
        for name, kind, default, span, _ in Page(node_id, language).inputs:
            options = inputs[value(name)][1]
            if kind in ("INT", "FLOAT"):
                numbers = [float(number) for number in re.findall(r"-?[\d.]+", span)]
                step = [options["step"]] if "step" in options else []
                assert numbers == [float(n) for n in (options["min"], options["max"], *step)], f"{node_id}.{name}"
            elif kind == "COMBO" and value(default) is not None:
                assert re.findall(r"`([^`]+)`", span) == options["options"], f"{node_id}.{name}"


@each_language
def test_outputs_are_listed_in_order_with_their_types(ours, language: str):
    for node_id, info in ours.items():
        rows = Page(node_id, language).outputs
        expected = list(zip(info["output_name"], info["output"], strict=True))
        assert [(value(row[0]), row[1]) for row in rows] == expected, node_id


@each_language
@pytest.mark.parametrize("name", PRESETS)
def test_preset_page_gives_the_presets_numbers(name: str, language: str):
    page = Page("LuminaVideoPreset", language)
    plan, clip = PRESETS[name], preset_clip(name)
    column = page.table(page.words.output)[0].index(name.removesuffix("-MultiScale"))
    written = {value(row[0]): value(row[column]) for row in page.outputs if value(row[0]) != "patch"}
    size = {"width": clip.size.width, "height": clip.size.height, "frames": clip.size.frames, "fps": float(clip.fps)}
    assert written == {key: str(size[key] if key in size else getattr(plan, key)) for key in written}
    bundle = find_bundle("mini") if name.startswith("mini") else None
    config = read_video_config(bundle.checkpoint) if bundle else VideoConfig()
    share = plan_cost(plan, clip.size.latent(), config).relative
    assert [f"`{name}`", f"`{plan.patch}`", f"{100 * share:.0f} %"] in page.table(page.words.preset)


def texts_of_the_code() -> str:
    """Every string of the code, one a line, with "..." for what is filled in."""
    lines = []
    for file in (file for folder in ("lumina_core", "nodes") for file in (REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                lines.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(lines)


def test_quoted_messages_are_in_the_code():
    texts = texts_of_the_code()
    # A message may also name what the code fills in.
    filled = [pattern(line) for line in texts.split("\n") if "..." in line and len(line) > 40]
    for file in DOCS.glob("*/en.md"):
        for message in Page(file.parent.name, "en").messages:
            found = pattern(message).search(texts) or any(each.fullmatch(message) for each in filled)
            assert found, f"{file.parent.name}: {message}"


def pattern(text: str) -> re.Pattern:
    """Matches a text whose gaps, written "...", are filled in."""
    return re.compile(".*".join(re.escape(part) for part in text.split("...")))


@each_language
def test_every_language_explains_the_same_messages(language: str):
    for file in DOCS.glob("*/en.md"):
        assert Page(file.parent.name, language).messages == Page(file.parent.name, "en").messages, file.parent.name


@each_language
def test_pages_are_plain_tables(language: str):
    for file in DOCS.glob(f"*/{language}.md"):
        for rows in Page(file.parent.name, language).tables:
            assert {len(row) for row in rows} == {len(rows[0])}, f"{file.parent.name}: escape the bar in a cell"
