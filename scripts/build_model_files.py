"""Write README's tables of model files: `python scripts/build_model_files.py`; `--check` only compares.

The files are those of lumina_core/checkpoints/released.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from lumina_core.checkpoints.released import (  # noqa: E402 - found through the line above
    CHECKPOINT,
    CONVERTED_SIZE,
    IMAGE_FILES,
    IMAGE_TEXT_ENCODER,
    VIDEO_FILES,
    ReleasedFile,
)

README = ROOT / "README.md"
START, END = "<!-- model files -->", "<!-- end of model files -->"
TEXT = f"""The workflows carry these links, so ComfyUI offers to download what is missing; folders are never offered,
and older pages offer no `.pth`. The lists of the loaders are made by content: a file of the same name that belongs
to another model is left out. Sizes follow from the parameter counts, except that of `{CHECKPOINT.name}`, which is
from the listing of its repository.

A `.pth` is read without running any code in it, and so is the `model_args.pth` beside it, whose settings are otherwise
the released ones. To read half as much at each start, convert it once, with the Python that runs ComfyUI, in the folder
of this pack (the name of the new file says what it is, and the old one can then be deleted):

    python -m lumina_core convert ../../models/diffusion_models/{CHECKPOINT.name}

This makes one `.safetensors` of {CONVERTED_SIZE} with the settings in its header; choose it in Load Lumina-Video Model.
A transformers folder of Gemma-2-2B in `models/text_encoders/` works with Load Lumina-Video Text Encoder."""


def table(files: Sequence[ReleasedFile]) -> str:
    """A Markdown table of files."""
    rows = [[_name(file), file.size, f"`models/{file.folder}/`", _source(file)] for file in files]
    lines = [["file", "size", "folder", "from"], ["---"] * 4, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section() -> str:
    """The text of README between its two marks."""
    return "\n\n".join(
        [
            START,
            table(VIDEO_FILES),
            "For Lumina-Next, the image model that Lumina-Video is based on:",
            table(IMAGE_FILES),
            TEXT,
            END,
        ]
    )


def replaced(text: str) -> str:
    """README with the current section."""
    before, _, rest = text.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"README.md has no '{START}' followed by '{END}'.")
    return before + section() + after


def _name(file: ReleasedFile) -> str:
    kind = "the folder " if file is IMAGE_TEXT_ENCODER else ""
    return f"{kind}`{file.name}`" + (f" ({file.note})" if file.note else "")


def _source(file: ReleasedFile) -> str:
    place = f", `{file.place}`" if file.place else ""
    return f"[{file.repository}]({file.page}){place}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if README is not up to date")
    text = README.read_text(encoding="utf-8")
    new = replaced(text)
    if parser.parse_args().check:
        sys.exit(0 if new == text else "README.md is not up to date: python scripts/build_model_files.py")
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
