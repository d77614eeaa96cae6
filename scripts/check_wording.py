"""Check for words that docs/style.md lists as words to avoid, each with its replacement.

    python scripts/check_wording.py            every hit, one a line
    python scripts/check_wording.py --count    hits by word and by file

Reads the README, docs/, the recipes, the help pages, comments, docstrings and strings of Python files, comments and
strings of scripts, and the English locale. A line that has to quote a word ends with the marker "wording: ok". Exits
with 1 where there is a hit.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STYLE = "docs/style.md"
MARKER = "wording: ok"
TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/**/*.md", "web/docs/**/en.md",
         "lumina_core/bundles/**/README.md", "locales/en/*.json", "recipes/**/*.yaml")  # fmt: skip
PYTHON = ("lumina_core/**/*.py", "nodes/**/*.py", "scripts/**/*.py", "benchmarks/**/*.py", "*.py")
SCRIPTS = ("web/js/**/*.js", "scripts/**/*.mjs")
_BLOCK = re.compile(r"^```banned\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SCRIPT_TEXT = re.compile(r"//[^\n]*|/\*.*?\*/|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|`(?:\\.|[^`\\])*`", re.DOTALL)


@dataclass(frozen=True)
class Hit:
    """One occurrence of a word to avoid."""

    file: str
    line: int
    word: str
    better: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: '{self.word}'; write {self.better}"


def banned(style: str) -> dict[str, str]:
    """Replacement by word, from the list on the style page.

    Args:
        style: the Markdown, with one fenced block ``banned`` of lines ``word -> replacement``.

    Raises:
        ValueError: no block, or a line without an arrow.
    """
    block = _BLOCK.search(style)
    if block is None:
        raise ValueError(f"{STYLE} has no block that begins with ```banned.")
    words = {}
    for line in filter(None, map(str.strip, block[1].splitlines())):
        word, arrow, better = (part.strip() for part in line.partition("->"))
        if not (word and arrow and better):
            raise ValueError(f"{STYLE} has the line '{line}'; write word -> replacement.")
        words[word.lower()] = better
    return words


def python_text(source: str) -> Iterator[tuple[int, str]]:
    """Comments and strings of a Python file with the line on which each begins; f-strings without their expressions."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def script_text(source: str) -> Iterator[tuple[int, str]]:
    """Comments and strings of a JavaScript file with the line on which each begins."""
    for found in _SCRIPT_TEXT.finditer(source):
        yield source.count("\n", 0, found.start()) + 1, found[0]


def find(words: dict[str, str], name: str, source: str) -> list[Hit]:
    """The hits of one file; its suffix selects how it is parsed.

    Identifiers such as ``picture_size`` and parts of paths do not count.
    """
    alternatives = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])({alternatives})(?![\w(=/]|\.\w)", re.IGNORECASE)
    kept = {number for number, line in enumerate(source.splitlines(), start=1) if MARKER in line}
    if name.endswith(".py"):
        pieces = python_text(source)
    elif name.endswith((".js", ".mjs")):
        pieces = script_text(source)
    else:
        pieces = iter([(1, without_block(source) if name == STYLE else source)])
    hits = []
    for start, text in pieces:
        for found in pattern.finditer(text):
            line = start + text.count("\n", 0, found.start())
            if line not in kept:
                word = " ".join(found[1].lower().split())
                hits.append(Hit(name, line, word, words[word]))
    return sorted(hits, key=lambda hit: hit.line)


def without_block(style: str) -> str:
    """The style page with the lines of its list left empty."""
    return _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), style)


def files() -> Iterator[Path]:
    """Every file that is checked, in order."""
    for pattern in (*TEXTS, *PYTHON, *SCRIPTS):
        yield from sorted(path for path in ROOT.glob(pattern) if path.is_file())


def main() -> int:
    """Print the hits; returns the exit status."""
    words = banned((ROOT / STYLE).read_text(encoding="utf-8"))
    hits = [
        hit
        for path in files()
        for hit in find(words, path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    if "--count" in sys.argv[1:]:
        by_word, by_file = Counter(hit.word for hit in hits), Counter(hit.file for hit in hits)
        for counts in (by_word, by_file):
            print("\n".join(f"{number:5} {name}" for name, number in counts.most_common()) + "\n")
    else:
        print("\n".join(str(hit) for hit in hits))
    print(f"{len(hits)} words to replace" if hits else "wording: clean")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main())
