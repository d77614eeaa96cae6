"""A file with one prompt a line."""

from __future__ import annotations

from pathlib import Path

from ..errors import LuminaError
from ..text.gemma import check_text

# Far more than one run can make; a file beyond it is a data set given by mistake.
MAX_PROMPTS = 1000


def read_prompts(path: Path) -> list[str]:
    """The prompts of a UTF-8 text file; blank lines, and lines that begin with ``#``, are left out.

    Raises:
        LuminaError: the file cannot be read as UTF-8 text, a line holds a control character, or there is no prompt or
            more than ``MAX_PROMPTS``; the line's number is named.
    """
    prompts = []
    for number, line in enumerate(_lines(path), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if bad := next((letter for letter in text if letter < " " and letter != "\t"), None):
            raise LuminaError(
                f"--prompts {path}, line {number}: it holds the control character U+{ord(bad):04X}, so this is no text "
                "file; write one prompt a line.",
                field="prompts",
                kind="file",
            )
        check_text(text, f"prompt of line {number}")
        prompts.append(text)
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise LuminaError(
            f"--prompts {path} has {len(prompts)} prompts, expected 1 to {MAX_PROMPTS}, one a line; blank lines and "
            "lines that begin with # do not count.",
            field="prompts",
            kind="file",
        )
    return prompts


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LuminaError(
            f"--prompts {path} cannot be read ({error.strerror}); give a text file.", field="prompts", kind="file"
        ) from None
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LuminaError(
            f"--prompts {path}, line {line}: it is not UTF-8; save the file as UTF-8.", field="prompts", kind="file"
        ) from None
