"""The help pages as they are written: their tables, headings and pictures, in every language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hosts import REPOSITORY

DOCS = REPOSITORY / "web" / "docs"
CELL_BORDER = re.compile(r"(?<!\\)\|")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")


@dataclass(frozen=True)
class Words:
    """What a language calls the columns and headings of a page, and how the meaning of an optional input begins."""

    inputs: tuple[str, ...]
    output: str
    preset: str
    message: str
    optional: str
    tip: str
    timeline: str


LANGUAGES = {
    "en": Words(
        ("Input", "Type", "Default", "Range", "Meaning"), "Output", "Preset", "Message", "Optional.", "Tip", "Timeline"
    ),
    "zh": Words(("输入", "类型", "默认值", "范围", "含义"), "输出", "预设", "消息", "可选。", "提示", "时间线"),
    "ko": Words(("입력", "타입", "기본값", "범위", "의미"), "출력", "프리셋", "메시지", "선택 사항.", "팁", "타임라인"),
}


@dataclass(frozen=True)
class Page:
    """One page."""

    node: str
    language: str

    @property
    def path(self) -> Path:
        return DOCS / self.node / f"{self.language}.md"

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def words(self) -> Words:
        return LANGUAGES[self.language]

    @property
    def title(self) -> str:
        return self.text.splitlines()[0].removeprefix("# ")

    @property
    def sections(self) -> list[str]:
        """Headings of the second level."""
        return re.findall(r"^## (.+)$", self.text, re.MULTILINE)

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """What is said of each picture, and where it lies."""
        return PICTURE.findall(self.text)

    @property
    def tables(self) -> list[list[list[str]]]:
        """Every table: rows of cells, the header first, escaped bars as bars."""
        found, rows = [], []
        for line in [*self.text.splitlines(), ""]:
            if line.startswith("|"):
                cells = CELL_BORDER.split(line.strip().removeprefix("|").removesuffix("|"))
                rows.append([cell.strip().replace("\\|", "|") for cell in cells])
            elif rows:
                found.append([rows[0], *rows[2:]])
                rows = []
        return found

    def table(self, first: str) -> list[list[str]]:
        """The rows of the one table whose first column is called `first`, its header in front."""
        (rows,) = [rows for rows in self.tables if rows[0][0] == first]
        return rows

    @property
    def inputs(self) -> list[list[str]]:
        return self.table(self.words.inputs[0])[1:]

    @property
    def outputs(self) -> list[list[str]]:
        return self.table(self.words.output)[1:]

    @property
    def messages(self) -> list[str]:
        """Beginnings of the errors that the page explains, "..." for what is filled in."""
        return [row[0] for rows in self.tables if rows[0][0] == self.words.message for row in rows[1:]]


def value(cell: str):
    """What a cell stands for: text between backticks, "" for (empty), None for a dash."""
    if cell == "-":
        return None
    return "" if cell == "(empty)" else cell.removeprefix("`").removesuffix("`")
