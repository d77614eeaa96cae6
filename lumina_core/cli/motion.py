"""``motion``: measures the motion scores of video files, and compares them with those of another estimator."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LuminaError
from ..evaluation.rank_correlation import spearman
from ..media.motion_score import Flow, dis_flow, file_motion_score, read_scores
from ..media.reader import probe
from ..media.writer import check_target
from ..runtime.atomic import atomic_write
from .options import SOME_FAILED

NAME = "motion"
USAGE = "VIDEO... [flags]"
HELP = "Measure motion scores of video files: mean optical flow in pixels per half second, at 320x576. Loads no model."
EXAMPLES = """examples:
  lumina-video motion clip.mp4
  lumina-video motion clips/*.mp4 --out motion.jsonl
  lumina-video motion clips/*.mp4 --scores 0-of-8-record.jsonl

The score has the meaning of --motion of `generate`, on the scale of OpenCV's DIS estimator. The released model was
trained with scores of UniMatch: --scores shows both and a linear fit between them on your clips; see docs/motion.md.
Exit status: 0 all measured, 1 some not measured, 2 none measured."""
# Fewest clips for a linear fit between two scales.
_FEWEST = 3


@dataclass(frozen=True)
class Measured:
    """A measured file: its length in seconds, mean frame rate and score, and the other estimator's score or None."""

    path: str
    seconds: float
    fps: float
    motion: float
    other: float | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="files of any frame rate; the first 4 s are measured"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--scores",
        metavar="FILE",
        help="JSONL with a path and unimatch_flow (or motion) on each line, to compare with; matched by the whole "
        "path, otherwise by file name",
    )
    parser.add_argument("--out", metavar="FILE.jsonl", help="write path, motion, seconds and fps of each clip")


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return the exit status. Raises LuminaError."""
    others = {} if arguments.scores is None else _matching(arguments.videos, arguments.scores)
    out = None if arguments.out is None else check_target(arguments.out, ".jsonl")
    flow = dis_flow()
    measured: list[Measured] = []
    failed: dict[str, LuminaError] = {}
    if not arguments.json:
        print(_line(arguments, "file", "seconds", "fps", "motion", "other"))
    for path in arguments.videos:
        try:
            measured.append(_measure(path, flow, others.get(path)))
        except LuminaError as error:
            failed[path] = error
            continue
        if not arguments.json:
            print(_row(arguments, measured[-1]), flush=True)
    if not measured and len(failed) == 1:
        raise next(iter(failed.values()))
    comparison = _compare(measured) if arguments.scores else None
    if arguments.json:
        print(json.dumps(_as_data(measured, failed, comparison)))
    elif comparison:
        print(f"\n{comparison['sentence']}")
    for error in failed.values():
        print(f"not measured: {error}", file=sys.stderr)
    if not measured:
        raise LuminaError(
            f"None of the {len(failed)} videos could be measured; see the reasons above.", field="videos", kind="file"
        )
    if out:
        _write(out, measured)
        print(out, file=sys.stderr if arguments.json else sys.stdout)
    return SOME_FAILED if failed else 0


def _measure(path: str, flow: Flow, other: float | None) -> Measured:
    file = probe(path)
    return Measured(path, file.seconds, file.fps, file_motion_score(path, flow), other)


def _matching(videos: Sequence[str], source: str) -> dict[str, float]:
    """The other scores by the paths given, matched by whole path, otherwise by a file name that occurs once.

    Raises:
        LuminaError: the file has a score for none of the videos.
    """
    scores = read_scores(source)
    times = Counter(Path(path).name for path in scores)
    by_name = {Path(path).name: score for path, score in scores.items() if times[Path(path).name] == 1}
    found = {path: scores.get(path, by_name.get(Path(path).name)) for path in videos}
    known = {path: score for path, score in found.items() if score is not None}
    if not known:
        raise LuminaError(
            f"None of the videos is in --scores {source}, whose first path is {next(iter(scores))!r}; give the same "
            "paths or file names.",
            field="scores",
            kind="mismatch",
        )
    return known


def _compare(measured: Sequence[Measured]) -> dict[str, object]:
    """Linear fit and rank correlation between our scores and the others, with a sentence that says both."""
    pairs = [(clip.motion, clip.other) for clip in measured if clip.other is not None]
    if len(pairs) < _FEWEST or len({ours for ours, _ in pairs}) == 1:
        return {
            "clips": len(pairs),
            "sentence": f"No linear fit between the scales: it needs {_FEWEST} clips with different scores, and "
            f"{len(pairs)} have scores of both kinds.",
        }
    ours, others = zip(*pairs, strict=True)
    line, order = statistics.linear_regression(ours, others), spearman(ours, others)
    correlation = "not defined, because the other scores are all equal" if order is None else f"{order:.3f}"
    return {
        "clips": len(pairs),
        "slope": line.slope,
        "intercept": line.intercept,
        "spearman": order,
        "sentence": f"other = {line.slope:.3g} x motion {line.intercept:+.3g} by least squares, Spearman correlation "
        f"{correlation}, on these {len(pairs)} clips.",
    }


def _line(arguments: argparse.Namespace, name: str, seconds: str, fps: str, motion: str, other: str) -> str:
    width = max(len("file"), *map(len, arguments.videos))
    cells = [f"{name:<{width}}", f"{seconds:>8}", f"{fps:>7}", f"{motion:>8}"]
    return "  ".join([*cells, f"{other:>8}"] if arguments.scores else cells)


def _row(arguments: argparse.Namespace, clip: Measured) -> str:
    other = "-" if clip.other is None else f"{clip.other:.3f}"
    return _line(arguments, clip.path, f"{clip.seconds:.2f}", f"{clip.fps:.5g}", f"{clip.motion:.3f}", other)


def _as_data(
    measured: Sequence[Measured], failed: dict[str, LuminaError], comparison: dict | None
) -> dict[str, object]:
    data: dict[str, object] = {
        "clips": [
            {**record, **({} if clip.other is None else {"other": clip.other})}
            for clip, record in zip(measured, _records(measured), strict=True)
        ],
        "broken": [{"path": path, "error": str(error)} for path, error in failed.items()],
    }
    return data if comparison is None else {**data, "comparison": comparison}


def _records(measured: Sequence[Measured]) -> Iterator[dict[str, object]]:
    for clip in measured:
        yield {"path": clip.path, "motion": clip.motion, "seconds": clip.seconds, "fps": clip.fps}


def _write(out: Path, measured: Sequence[Measured]) -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in _records(measured)]
    with atomic_write(out) as part:
        part.write_text("\n".join([*lines, ""]), encoding="utf-8")
