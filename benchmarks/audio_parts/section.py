"""The section "Sound" of the results document: what it says, and how it gets in without touching the rest."""

from __future__ import annotations

from pathlib import Path

from tables.sections import prose, table
from tables.targets import Target

from lumina_core.mini.audio_judge import UNCLEAR
from lumina_core.mini.audio_world import MATERIALS

from .timbre import MADE, ROUND_TRIP, TRUE
from .timing import ALL

SOUND, SIZE, ESTIMATE, LANGUAGES = "sound", "sound size", "estimate", "languages"
EXTRAPOLATION, SOUND_LENGTH = "extrapolation", "sound length"
SOLVERS = "solvers"
EDIT = "edit"
"""Parts of docs/results.md that other scripts than paper_tables.py write, each between marks of its own."""
SECTIONS = (SOUND, SIZE, ESTIMATE, LANGUAGES, EXTRAPOLATION, SOUND_LENGTH, EDIT, SOLVERS)
NAMES = {"generated": "made", "codec": "true sound through the codec", "true": "true sound"}
TARGETS = (
    Target("onset_f1", "onset F1 against the true event times, within 100 ms", 0.8),
    Target("lag_ms", "mean absolute lag of the matched onsets, ms", 60, ceiling=True),
    Target("shuffled_share", "F1 against another clip's events, over that", 0.5, ceiling=True),
    Target("timbre", "material as the text asks", 0.9),
)
INTRODUCTION = (
    "Written by the command below from what it measured. The mini voice ({parameters:.1f} M parameters) makes the "
    "sound of drawn clips of combinations of colour, shape, background and direction that were never trained, half of "
    "them at 8 and half at 25 frames a second; {steps} steps, video guidance {video_guidance:g}, text guidance "
    "{text_guidance:g}, {passes} passes of the network a clip."
)
READING = (
    "Onsets are peaks of the spectral flux (`evaluation/onsets.py`), each event is paired with one onset at "
    "most, and all clips are counted as one. The control pairs every sound with the events of the next clip. Lag is "
    "the mean absolute distance of the pairs; positive offsets are late. The material is read by comparing each stroke "
    "with what the synthesiser makes of the three (`lumina_core/mini/audio_judge.py`)."
)
TIMBRE = "{clips} sounds: every clip with a stroke is asked for as each material, by text alone, from the same noise."


def headline(results: dict) -> dict[str, float | None]:
    """The figures that programs read, and that ``TARGETS`` bound."""
    row = results["timing"]["generated"][ALL]
    share = None if not row["f1"] or row["shuffled_f1"] is None else row["shuffled_f1"] / row["f1"]
    return {
        "onset_f1": row["f1"],
        "lag_ms": row["lag_ms"],
        "shuffled_f1": row["shuffled_f1"],
        "shuffled_share": share,
        "timbre": results["materials"]["right"][MADE],
    }


def targets(results: dict) -> str:
    found = headline(results)
    rows = [
        [
            target.what,
            f"{'at most' if target.ceiling else 'at least'} {target.bound:g}",
            _number(found[target.name]),
            "yes" if target.met(found[target.name]) else "**no**",
        ]
        for target in TARGETS
    ]
    return table(["figure", "wanted", "measured", "met"], rows)


def timing_table(results: dict) -> str:
    head = ["sound", "clips", "at", "events", "onsets", "F1", "precision", "recall", "lag, ms", "offset, ms",
            "control F1"]  # fmt: skip
    rows = [
        [NAMES[kind], str(row["clips"]), rate, str(row["events"]), str(row["onsets"]),
         *(_number(row[name]) for name in ("f1", "precision", "recall")),
         _number(row["lag_ms"], 1), _number(row["mean_lag_ms"], 1), _number(row["shuffled_f1"])]
        for kind, table_rows in results["timing"].items()
        for rate, row in table_rows.items()
    ]  # fmt: skip
    return table(head, rows)


def timbre_table(results: dict) -> str:
    found = results["materials"]
    read = [*MATERIALS, UNCLEAR]
    rows = [[f"{name}", *(_percent(row[other]) for other in read)] for name, row in found["read"].items()]
    right = found["right"]
    said = (
        f"As asked: {_percent(right[MADE])} of the sounds made, {_percent(right[ROUND_TRIP])} of true ones through the "
        f"codec, {_percent(right[TRUE])} of true ones."
    )
    return table(["asked for", *(f"read as {name}" for name in read)], rows) + "\n\n" + prose(said)


def document(results: dict, figure: str | None) -> str:
    """The whole section, from its heading on."""
    setup = results["setup"]
    parts = [
        "## Sound",
        prose(INTRODUCTION.format(**setup)),
        f"`{setup['command']}`",
        prose(f"{setup['machine']}; {setup['clips']} clips of 4 s."),
        targets(results),
        prose(READING),
    ]
    if figure is not None:
        parts.append(f"![Frames of a clip over the spectrogram of its sound, with the events marked]({figure})")
    parts += [
        "### When it sounds",
        timing_table(results),
        "### What it sounds like",
        prose(TIMBRE.format(**results["materials"])),
        timbre_table(results),
    ]
    return "\n\n".join(parts)


def marks(name: str) -> tuple[str, str]:
    """Comments before and behind a section."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def read_section(file: Path, name: str = SOUND) -> str | None:
    """The section of a document with its marks; None where it has none."""
    if not file.is_file():
        return None
    text, (begin, last) = file.read_text(encoding="utf-8"), marks(name)
    start, end = text.find(begin), text.find(last)
    return text[start : end + len(last)] if 0 <= start < end else None


def read_sections(file: Path) -> str | None:
    """All of ``SECTIONS`` that a document has."""
    found = [section for name in SECTIONS if (section := read_section(file, name)) is not None]
    return "\n\n".join(found) or None


def write_section(file: Path, section: str, name: str = SOUND) -> None:
    """Put a section into a document in place of its old one, or behind the rest; nothing is half-written."""
    begin, end = marks(name)
    marked = f"{begin}\n{section}\n{end}"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    old = read_section(file, name)
    new = text.replace(old, marked) if old is not None else "\n\n".join(filter(None, [text.rstrip(), marked])) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".part")
    half.write_text(new, encoding="utf-8")
    half.replace(file)


def _number(value: float | None, digits: int = 3) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
