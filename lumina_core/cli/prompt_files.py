"""Files with one prompt per line."""

from __future__ import annotations

from pathlib import Path

from ..errors import LuminaError
from ..text.gemma import check_text

# More than a run can make. A longer file is probably a data set that was given by mistake.
MAX_PROMPTS = 1000


def read_prompts(path: Path) -> list[str]:
    """Read the prompts of a UTF-8 text file, without blank lines and lines that start with ``#``.

    Raises:
        LuminaError: the file is not UTF-8 text, a line has a control character, or there is no prompt or more than
            ``MAX_PROMPTS``. The message has the number of the line.
    """
    prompts = []
    for number, line in enumerate(_lines(path), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if bad := next((letter for letter in text if letter < " " and letter != "\t"), None):
            raise LuminaError(
                f"--prompts {path}, line {number} has the control character U+{ord(bad):04X}, so this is not a text "
                "file; write one prompt per line.",
                field="prompts",
                kind="file",
            )
        check_text(text, f"prompt of line {number}")
        prompts.append(text)
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise LuminaError(
            f"--prompts {path} has {len(prompts)} prompts, expected 1 to {MAX_PROMPTS}, one per line; blank lines and "
            "lines that start with # do not count.",
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
            f"--prompts {path}, line {line} is not UTF-8; save the file as UTF-8.", field="prompts", kind="file"
        ) from None
