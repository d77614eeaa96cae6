"""Means, standard errors and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """Mean of second minus first over the same prompts and noises, and its standard error."""

    mean: float
    error: float


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean. One value alone has an error as large as itself: it says nothing about chance."""
    if len(values) == 1:
        return abs(values[0])
    center = mean(values)
    return math.sqrt(sum((value - center) ** 2 for value in values) / (len(values) - 1) / len(values))


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    gaps = [b - a for a, b in zip(first, second, strict=True)]
    return Difference(mean(gaps), standard_error(gaps))


def target(figure: str, value: float | None, bound: float, maximum: bool = False) -> dict:
    """A row of a table of targets: ``value`` is to be at least ``bound``, or at most; None meets none."""
    met = value is not None and (value <= bound if maximum else value >= bound)
    return {"figure": figure, "target": f"at {'most' if maximum else 'least'} {bound:g}", "measured": value, "met": met}
