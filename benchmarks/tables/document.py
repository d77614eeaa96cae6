"""The results document, written from the measured figures alone."""

from __future__ import annotations

from pathlib import Path

from . import sections
from .sections import prose

INTRODUCTION = (
    "The control tables of the paper (arXiv 2502.06782) in miniature: the same sampler, schedules and motion "
    "conditioning, on a network of {parameters:.1f} M parameters that knows moving shapes only. Written by the command "
    "below from what it measured; no sentence here is by hand. The paper's rows stand beside ours to compare "
    "directions, not sizes: its scores are VBench points of a network of 2 B parameters."
)
SETTING = (
    "{machine}; {prompts} prompts of combinations of colour, shape, background and direction that were never trained."
)
READING = (
    "How the clips are read: `lumina_core/mini/judge.py` finds the shape by its difference from the background and "
    "compares it with the shapes as they are drawn; `tests/core/test_mini_judge.py` checks it on drawn clips. Accuracy "
    "is the mean of colour, shape and direction. Sharpness is one over the width in pixels of the shape's edge. "
    "Distance is the root mean square difference (values 0 to 1) from what was asked for, drawn where it was found. "
    "Measured motion is the mean optical flow of `media/motion_score.py`. `±` is one standard error over the same "
    "prompts and noises, and a difference below two of them is called chance."
)
TABLE_2 = (
    "Plan `{single}`; combined `{combined_patch}`. Time is the median of rounds in turns ({rounds}), without decoding, "
    "relative to 1x2; the paper's time and total score are the last columns."
)
TABLE_3 = "Plan `{preset}`, {motion_prompts} prompts a row. Last: the paper's dynamic degree and quality score."
FIGURE_3 = "{clips} drawn clips of held-out combinations, the same noise for every patch size."


def write(tables: dict, target: Path, figure: Path | None, kept: str | None = None) -> None:
    """Write the document; nothing is half-written. ``kept``: a part of it that another script measures."""
    setup = tables["setup"]
    parts = [
        "# Results of the mini bundle",
        prose(INTRODUCTION.format(**setup)),
        f"`{setup['command']}`",
        prose(SETTING.format(**setup)),
        sections.targets(tables),
        prose(READING),
        "## Prompt following",
        "Single scale (1x2).",
        sections.following(tables),
        "## Table 2: patch sizes alone and combined",
        prose(TABLE_2.format(**setup)),
        sections.table_2(tables),
        "## Table 3: positive and negative motion score",
        prose(TABLE_3.format(**setup)),
        sections.table_3(tables),
        "## Figure 3: loss of each patch size over time",
        prose(FIGURE_3.format(**tables["figure_3"])),
    ]
    if figure is not None:
        parts.append(f"![Loss of each patch size over flow time]({figure.as_posix()})")
    parts.append(sections.figure_3(tables))
    if kept is not None:
        parts.append(kept)
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_suffix(".part")
    half.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    half.replace(target)
