"""Estimates how long a run takes from the measured times of past runs.

An evaluation whose kind has been measured takes the median of its past times, scaled by FLOPs if Context Drop lowers
them. Any other kind is estimated by a line fitted to the measured kinds: a forward pass has a constant overhead, and a
time per FLOP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isclose
from statistics import median


@dataclass(frozen=True)
class Shape:
    """One kind of evaluation.

    Args:
        patch: patch size as text.
        tokens: of one sample.
        batch: number of clips.
        guided: whether the negative pass runs too.
        flops: of one evaluation, with all its passes and clips; not part of ``key``.
    """

    patch: str
    tokens: int
    batch: int
    guided: bool
    flops: int

    @classmethod
    def of(cls, patch: object, tokens: int, batch: int, guided: bool, clip_flops: float) -> Shape:
        """The kind of an evaluation of ``batch`` clips, of which each takes ``clip_flops`` FLOPs."""
        return cls(str(patch), tokens, batch, guided, round(clip_flops * batch))

    @property
    def key(self) -> tuple[str, int, int, bool]:
        """Equal for evaluations of the same kind."""
        return self.patch, self.tokens, self.batch, self.guided

    @property
    def passes(self) -> int:
        """Forward passes of one evaluation."""
        return 2 if self.guided else 1


@dataclass(frozen=True)
class Measured:
    """One kind of evaluation of one past run.

    Args:
        shape: the kind.
        seconds: typical time of one evaluation.
    """

    shape: Shape
    seconds: float


# The kinds of evaluations of one past run, each once.
PastRun = Sequence[Measured]


@dataclass(frozen=True)
class Estimate:
    """The estimated time of a run.

    Args:
        parts: seconds of each part, in the order of the request.
        runs: number of past runs that were used.
        exact: every kind of evaluation has been measured.
    """

    parts: tuple[float, ...]
    runs: int
    exact: bool

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return sum(self.parts)


def estimate(history: Sequence[PastRun], parts: Sequence[tuple[Shape, int]]) -> Estimate | None:
    """Estimate the time of a run.

    Args:
        history: past runs of the same model on the same device in the same dtype.
        parts: kinds of evaluations, each with its number of evaluations.

    Returns:
        None if there are no past times or no parts.
    """
    known = _known(history)
    if not known or not parts:
        return None
    wanted = {shape.key for shape, _ in parts}
    exact = all(shape.key in known and isclose(shape.flops, known[shape.key][0].flops) for shape, _ in parts)
    used = [run for run in history if run and (not exact or any(m.shape.key in wanted for m in run))]
    line = (0.0, 0.0) if exact else _line(list(known.values()))
    return Estimate(tuple(count * _seconds(shape, known, line) for shape, count in parts), len(used), exact)


def _known(history: Sequence[PastRun]) -> dict[tuple, tuple[Shape, float]]:
    """Every measured kind of evaluation by its key, with its median seconds."""
    found: dict[tuple, list[Measured]] = {}
    for run in history:
        for measured in run:
            if measured.seconds > 0:
                found.setdefault(measured.shape.key, []).append(measured)
    return {key: (rows[-1].shape, median(m.seconds for m in rows)) for key, rows in found.items()}


def _seconds(shape: Shape, known: dict, line: tuple[float, float]) -> float:
    if shape.key in known:
        found, seconds = known[shape.key]
        return seconds * shape.flops / found.flops
    overhead, per_flop = line
    return overhead * shape.passes + per_flop * shape.flops


def _line(points: list[tuple[Shape, float]]) -> tuple[float, float]:
    """Overhead of a forward pass in seconds, and seconds per FLOP, both at least 0, fitted to the points.

    Minimizes the sum of absolute relative errors, which is robust to outliers. The optimal line goes through two of
    the points, or through one point with one of the two values 0, so all of these are tried.
    """
    rows = [(shape.flops / shape.passes, seconds / shape.passes) for shape, seconds in points]
    # Lines without overhead come first, so that among equals plain scaling by FLOPs is chosen.
    lines = [(0.0, y / x) for x, y in rows]
    for (x0, y0), (x1, y1) in combinations(rows, 2):
        if x0 == x1:
            continue
        slope = (y1 - y0) / (x1 - x0)
        overhead = y0 - slope * x0
        if slope > 0 and overhead >= 0:
            lines.append((overhead, slope))
    return min(lines, key=lambda line: sum(abs((line[0] + line[1] * x) / y - 1) for x, y in rows))
