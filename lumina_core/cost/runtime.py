"""How long a run will take, from how long others took. Seconds are measured, never made up.

A shape that ran before takes what it took: the median over its runs, or its part where fewer FLOPs are asked of it
(Context Drop). Any other is read off a line through the shapes that did run: a pass costs a fixed overhead and so much
per FLOP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isclose
from statistics import median


@dataclass(frozen=True)
class Shape:
    """What one evaluation of the network looks like.

    Args:
        patch: patch size as text.
        tokens: tokens of one item.
        batch: clips at once.
        guided: whether the negative pass runs too.
        flops: FLOPs of one evaluation, all its passes and clips together; no part of the shape's identity.
    """

    patch: str
    tokens: int
    batch: int
    guided: bool
    flops: int

    @property
    def same(self) -> tuple[str, int, int, bool]:
        """Equal for evaluations that cost the same."""
        return self.patch, self.tokens, self.batch, self.guided

    @property
    def passes(self) -> int:
        return 2 if self.guided else 1


@dataclass(frozen=True)
class Measured:
    """One shape of one past run, with its usual seconds per evaluation there."""

    shape: Shape
    seconds: float


Run = Sequence[Measured]
"""The shapes of one past run, each once."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of each part asked for; ``runs`` past runs were used, and ``exact`` says that every shape had run."""

    parts: tuple[float, ...]
    runs: int
    exact: bool

    @property
    def seconds(self) -> float:
        return sum(self.parts)


def estimate(history: Sequence[Run], parts: Sequence[tuple[Shape, int]]) -> Estimate | None:
    """Seconds of every part, a shape and how often it is evaluated; None where the past says nothing.

    ``history`` holds runs of one model on one device in one precision.
    """
    known = _known(history)
    if not known or not parts:
        return None
    wanted = {shape.same for shape, _ in parts}
    exact = all(shape.same in known and isclose(shape.flops, known[shape.same][0].flops) for shape, _ in parts)
    used = [run for run in history if run and (not exact or any(m.shape.same in wanted for m in run))]
    line = (0.0, 0.0) if exact else _line(list(known.values()))
    return Estimate(tuple(count * _seconds(shape, known, line) for shape, count in parts), len(used), exact)


def _known(history: Sequence[Run]) -> dict[tuple, tuple[Shape, float]]:
    """Every shape that ran, with its median seconds per evaluation."""
    found: dict[tuple, list[Measured]] = {}
    for run in history:
        for measured in run:
            if measured.seconds > 0:
                found.setdefault(measured.shape.same, []).append(measured)
    return {same: (rows[-1].shape, median(m.seconds for m in rows)) for same, rows in found.items()}


def _seconds(shape: Shape, known: dict, line: tuple[float, float]) -> float:
    if shape.same in known:
        found, seconds = known[shape.same]
        return seconds * shape.flops / found.flops
    overhead, per_flop = line
    return overhead * shape.passes + per_flop * shape.flops


def _line(points: list[tuple[Shape, float]]) -> tuple[float, float]:
    """Overhead of a pass and seconds per FLOP, both at least 0, that miss the points least.

    The least sum of absolute relative errors, which one odd point cannot pull away. Its optimum goes through two of
    the points, or through one with one of both numbers 0, so trying those finds it.
    """
    rows = [(shape.flops / shape.passes, seconds / shape.passes) for shape, seconds in points]
    # Without an overhead first: among equals, plain scaling by FLOPs wins.
    lines = [(0.0, y / x) for x, y in rows]
    for (x0, y0), (x1, y1) in combinations(rows, 2):
        if x0 == x1:
            continue
        slope = (y1 - y0) / (x1 - x0)
        overhead = y0 - slope * x0
        if slope > 0 and overhead >= 0:
            lines.append((overhead, slope))
    return min(lines, key=lambda line: sum(abs((line[0] + line[1] * x) / y - 1) for x, y in rows))
