"""The locales have the same words in every language, and none is left empty or in English."""

import json
import re
from pathlib import Path

import pytest

LOCALES = Path(__file__).resolve().parents[2] / "locales"
FILES = ("main.json", "nodeDefs.json", "settings.json")
LANGUAGES = ("en", "zh", "ko")
TRANSLATED = LANGUAGES[1:]
PLACEHOLDER = re.compile(r"\{\w+\}")
SYNTAX = re.compile(r"[|{}@]")
"""What the front ends' message format gives a meaning. One of them reads tooltips raw, so no escape fits both."""
# What is the same in other languages: names of things, letters of formulas, and messages without a word of their own.
SAME_EVERYWHERE = {"CLIP", "VAE", "fps", "renorm", "t", "Lumina-Video", "Lumina-Video Sigmas"}
# Front ends look options up by a path, in which these mean something, or end it.
NOT_IN_KEYS = re.compile(r"[.'\"\[\]]")


def words(language: str, file: str) -> dict[tuple[str, ...], str]:
    """Every text of a file by its path of keys."""
    found = {}

    def walk(branch: dict, path: tuple[str, ...]) -> None:
        for key, value in branch.items():
            if isinstance(value, dict):
                walk(value, (*path, key))
            else:
                found[(*path, key)] = value

    walk(json.loads((LOCALES / language / file).read_text(encoding="utf-8")), ())
    return found


def test_languages_have_these_files():
    found = {str(path.relative_to(LOCALES).as_posix()) for path in LOCALES.rglob("*") if path.is_file()}
    assert found == {f"{language}/{file}" for language in LANGUAGES for file in FILES}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_have_the_english_keys(language: str, file: str):
    assert sorted(words(language, file)) == sorted(words("en", file))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_is_left_in_english(language: str, file: str):
    english = words("en", file)
    left = {path: text for path, text in words(language, file).items() if text == english[path]}
    wordless = {path for path, text in left.items() if not re.search(r"\w", PLACEHOLDER.sub("", text))}
    assert {text for path, text in left.items() if path not in wordless} <= SAME_EVERYWHERE


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_fill_in_what_english_fills_in(language: str, file: str):
    english = words("en", file)
    for path, text in words(language, file).items():
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(english[path])), path


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_plain(language: str, file: str):
    for path, text in words(language, file).items():
        assert isinstance(text, str), path
        assert text.strip() == text != "", path
        assert not SYNTAX.search(PLACEHOLDER.sub("", text)), f"{path}: {text}"


@pytest.mark.parametrize("file", FILES)
def test_front_ends_find_the_keys(file: str):
    for path in words("en", file):
        assert not [key for key in path if NOT_IN_KEYS.search(key)], path
