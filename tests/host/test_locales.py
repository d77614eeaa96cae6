"""The English words are those of the schemas, the host serves all languages, and the front end shows them."""

import json

import pytest
from frontend import FrontendMissing, run_node
from hosts import REPOSITORY

from scripts.build_locales import ENGLISH, english_file

LOCALES = REPOSITORY / "locales"
LANGUAGES = ("en", "zh", "ko")
GUIDER = "LuminaVideoGuider"
SAMPLER = "LuminaVideoMultiScaleSampler"


def words(language: str, file: str) -> dict:
    """A file of a language."""
    return json.loads((LOCALES / language / f"{file}.json").read_text(encoding="utf-8"))


def test_english_file_is_what_the_script_writes(server):
    assert ENGLISH.read_text(encoding="utf-8") == english_file(server.object_info()), (
        "run python scripts/build_locales.py, and translate what changed"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_host_serves_the_words(server, language: str):
    served = json.loads(server.get("/api/i18n"))[language]
    for file in ("nodeDefs", "settings"):
        assert words(language, file).items() <= served[file].items()
    assert words(language, "main").items() <= served.items()


@pytest.fixture(scope="module", params=[("zh", GUIDER), ("ko", SAMPLER), ("en", SAMPLER)], ids=lambda each: each[0])
def shown(request: pytest.FixtureRequest, server):
    """The language, the node, and what the front end shows of it."""
    language, node = request.param
    try:
        printed = run_node(REPOSITORY / "tests" / "host" / "locale_page.mjs", server.url, language, node)
    except FrontendMissing as error:
        pytest.skip(f"needs the front end: {error}")
    return language, node, json.loads(printed)


def test_front_end_names_node_and_inputs(shown):
    language, node, page = shown
    own = words(language, "nodeDefs")[node]
    assert page["title"] == own["display_name"]
    named = {**page["slots"], **page["widgets"]}
    # The API name is the key, and stays.
    assert {name: named[name] for name in own["inputs"]} == {name: text["name"] for name, text in own["inputs"].items()}


def test_front_end_names_the_settings(shown):
    language, _, page = shown
    own = words(language, "settings")
    assert {key.replace(".", "_") for key in page["settings"]} == set(own)
    for key, setting in page["settings"].items():
        expected = own[key.replace(".", "_")]
        assert (setting["name"], setting["tooltip"]) == (expected["name"], expected["tooltip"])
        for text, label in expected.get("options", {}).items():
            assert setting["options"][text] == label, key


def test_help_panel_shows_the_page_and_its_picture(shown):
    language, node, page = shown
    assert words(language, "nodeDefs")[node]["display_name"] in page["help"]
    (picture,) = page["pictures"]
    assert picture["src"].endswith(f"/docs/{node}/node.png")
    assert picture["width"] > 0
