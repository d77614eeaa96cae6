"""The tables as text: Markdown that is printed and that the results document is made of.

Every sentence that says what a table shows is chosen by its figures.
"""

from __future__ import annotations

import textwrap
from itertools import pairwise

from . import paper
from .motions import PAPER_UNIT, RANKED
from .patches import COMBINED, REFERENCE
from .quality import ASKED
from .targets import TARGETS, headline
from .windows import APART

WIDTH = 120
LANGUAGE_NAMES = {"all": "all prompts", "en": "English", "zh": "Chinese"}


def targets(tables: dict) -> str:
    found = headline(tables)
    rows = []
    for target in TARGETS:
        value = found[target.name]
        bound = f"{'at most' if target.ceiling else 'at least'} {target.bound:g}"
        rows.append([target.what, bound, _number(value, 3), "yes" if target.met(value) else "**no**"])
    return table(["figure", "wanted", "measured", "met"], rows)


def following(tables: dict) -> str:
    rows = [
        [LANGUAGE_NAMES.get(group, group), str(found["prompts"]), *(_percent(found[name]) for name in ASKED)]
        for group, found in tables["table_2"]["following"].items()
    ]
    return table(["", "prompts", *ASKED], rows)


def table_2(tables: dict) -> str:
    found = tables["table_2"]
    head = ["patch size", "time", "FLOPs", *ASKED[:3], "accuracy", "sharpness", "distance", "paper: time", "total"]
    rows = [
        [name, _number(row["time"], 2), _number(row["flops"], 2), *_shown(row), _number(theirs["time"], 2),
         _number(theirs["total"], 2)]
        for name, row in found["rows"].items()
        if (theirs := paper.TABLE_2.get(name))
    ]  # fmt: skip
    rows.append(["drawn, through the VAE", "", "", *_shown(found["drawn"]), "", ""])
    return table(head, rows) + "\n\n" + prose(*_said_of_patches(found))


def _said_of_patches(found: dict) -> list[str]:
    rows, ratio = found["rows"], found["accuracy_ratio"]
    single, combined = rows[REFERENCE], rows[COMBINED]
    alone = [name for name in paper.TABLE_2 if name != COMBINED]
    falls = all(rows[a]["accuracy"] > rows[b]["accuracy"] for a, b in pairwise(alone))
    return [
        f"The combined schedule has {_percent(ratio)} of the accuracy of {REFERENCE} for {_percent(combined['flops'])} "
        f"of its FLOPs and {_percent(combined['time'])} of its time.",
        f"Its clips are {_compared(combined['sharpness'], single['sharpness'], 'sharper', 'less sharp', 'as sharp')} "
        f"and {_compared(combined['distance'], single['distance'], 'farther from', 'nearer to', 'as near to')} "
        "drawn truth.",
        f"Accuracy {'falls' if falls else 'does not fall'} with every coarser patch size"
        f"{', as' if falls else '; it does'} in the paper.",
    ]


def table_3(tables: dict) -> str:
    found = tables["table_3"]
    head = ["positive / negative", "on this scale", "measured motion", *ASKED[:3], "accuracy", "sharpness",
            "distance", "paper: dynamic degree", "quality"]  # fmt: skip
    rows = [
        [name, f"{row['positive']:.2f} / {row['negative']:.2f}", _number(row["flow"], 2), *_shown(row),
         _number(paper.TABLE_3[name]["dynamic"], 2), _number(paper.TABLE_3[name]["quality"], 2)]
        for name, row in found["rows"].items()
    ]  # fmt: skip
    rank = found["rank"]
    scores = ", ".join(f"{score:g}" for score in RANKED)
    ranks = table(
        ["motion score", "measured motion", "accuracy"],
        [
            [_number(score, 2), _number(flow, 2), _percent(accuracy)]
            for score, flow, accuracy in zip(rank["scores"], rank["flow"], rank["accuracy"], strict=True)
        ],
    )
    return "\n\n".join(
        [
            table(head, rows),
            prose(
                f"The paper's {PAPER_UNIT} stands for the median training clip here: its scores are multiplied by "
                f"{found['unit']:.3f}.",
                *_said_of_motion(found["differences"]),
            ),
            prose(
                f"Scores of {scores} in the paper's terms, {rank['prompts']} prompts each, against a negative score of "
                f"{rank['negative']}. Spearman's rank correlation over all clips is "
                f"{_number(rank['spearman'], 3)}."
            ),
            ranks,
        ]
    )


def _said_of_motion(differences: dict) -> list[str]:
    said = []
    for what, text in (
        ("score, equal", "Doubling both scores"),
        ("gap at 4", "A gap (4 / 2 against 4 / 4)"),
        ("gap at 8", "The larger gap (8 / 2 against 8 / 8)"),
        ("score, against 2", "Doubling the positive score against the same negative one"),
    ):
        said.append(f"{text} {_moved(differences[what]['flow'])}.")
    for score in ("4", "8"):
        change = differences[f"schedule at {score}"]
        said.append(
            f"The schedule on {score} / 2 {_moved(change['flow'])}, and quality {_quality_moved(change)}."
        )  # fmt: skip
    said.append(
        "In the paper a gap raises motion much and costs quality, and the schedule keeps most of the motion and wins "
        "quality back."
    )
    return said


def _moved(change: dict) -> str:
    if not change["sign"]:
        return f"does not change the measured motion beyond chance ({_signed(change)})"
    return f"{'raises' if change['sign'] > 0 else 'lowers'} the measured motion ({_signed(change)})"


def _quality_moved(change: dict) -> str:
    """Accuracy and sharpness are better when higher, distance when lower."""
    better, worse = [], []
    for name, good in (("accuracy", 1), ("sharpness", 1), ("distance", -1)):
        if sign := change[name]["sign"] * good:
            (better if sign > 0 else worse).append(f"{name} {_signed(change[name])}")
    parts = [f"gains ({', '.join(better)})"] * bool(better) + [f"loses ({', '.join(worse)})"] * bool(worse)
    return " but also ".join(parts) or "does not change beyond chance"


def figure_3(tables: dict) -> str:
    found = tables["figure_3"]
    losses = found["loss"]
    rows = [
        [f"{a:.2f} to {b:.2f}", *(_number(curve[i], 3) for curve in losses.values())]
        for i, (a, b) in enumerate(pairwise(found["edges"]))
    ]
    said = [
        f"{name} stays within {APART:.0%} of {next(iter(losses))}." if start is None
        else f"{name} lies more than {APART:.0%} above {next(iter(losses))} from t = {start:.2f} on."
        for name, start in found["parts_from"].items()
    ]  # fmt: skip
    said.append("In the paper the curves lie together up to t = 0.1, 2x4 leaves first, and 2x2 leaves after about 0.4.")
    return table(["t", *losses], rows) + "\n\n" + prose(*said)


def prose(*sentences: str) -> str:
    """A paragraph in lines."""
    return textwrap.fill(" ".join(sentences), WIDTH, break_long_words=False, break_on_hyphens=False)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with its columns lined up."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [head, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(row: dict[str, float]) -> list[str]:
    return [
        *(_percent(row[name]) for name in (*ASKED[:3], "accuracy")),
        _number(row["sharpness"], 3),
        _number(row["distance"], 3),
    ]


def _compared(value: float, other: float, more: str, less: str, same: str) -> str:
    """Words for two figures that are the same when they print alike."""
    if _number(value, 3) == _number(other, 3):
        return same
    return more if value > other else less


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _signed(change: dict) -> str:
    return f"{change['mean']:+.2g} ± {change['error']:.1g}"
