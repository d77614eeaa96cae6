"""The word list of docs/style.md, and how the checker reads each kind of file."""

import pytest

from scripts.check_wording import ROOT, STYLE, banned, find

WORDS = {"foretold": "predicted", "goes on": "continues", "picture": "image"}


def hits(name, source):
    return [(hit.line, hit.word, hit.better) for hit in find(WORDS, name, source)]


def test_the_style_page_has_a_list():
    words = banned((ROOT / STYLE).read_text(encoding="utf-8"))
    assert words["foretold"] and "goes on" in words


@pytest.mark.parametrize("style", ["# Style\n", "```banned\nforetold\n```\n", "```banned\nforetold ->\n```\n"])
def test_a_style_page_without_a_list_is_refused(style):
    with pytest.raises(ValueError, match=r"docs/style\.md has"):
        banned(style)


def test_comments_docstrings_and_strings_of_python_are_read_and_names_are_not():
    source = '"""It is\n\nforetold."""\n\npicture = size  # The run goes\n# on; it goes on.\nf"a {picture} picture"\n'
    assert hits("a.py", source) == [(3, "foretold", "predicted"), (6, "goes on", "continues"), (7, "picture", "image")]


def test_comments_and_strings_of_scripts_are_read_and_names_are_not():
    source = 'const picture = 1;\n// a picture\nlabel("Foretold", `\n goes on`);\n/* a\n picture */\n'
    assert hits("a.js", source) == [
        (2, "picture", "image"), (3, "foretold", "predicted"), (4, "goes on", "continues"), (6, "picture", "image"),
    ]  # fmt: skip


def test_pages_are_read_whole_and_over_line_breaks():
    source = "# A\n\nThe run goes\non to the picture.\n"
    assert hits("a.md", source) == [(3, "goes on", "continues"), (4, "picture", "image")]


@pytest.mark.parametrize(
    "text", ["`picture_size`", "pictured", "a/picture/b", "picture.png", "cli.picture", "picture(x)"]
)
def test_names_and_paths_are_no_words(text):
    assert hits("a.md", text) == []


def test_a_marked_line_may_quote_a_word():
    assert hits("a.md", 'A picture\n"a picture" <!-- wording: ok -->\n') == [(1, "picture", "image")]


def test_the_list_of_the_style_page_is_no_hit():
    assert hits(STYLE, "# Style\n```banned\npicture -> image\n```\nA picture.\n") == [(5, "picture", "image")]
