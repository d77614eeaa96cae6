"""Spearman's rank correlation."""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, -1 to 1, with mean ranks for ties; None if either list is constant."""
    try:
        return statistics.correlation(_ranks(first), _ranks(second))
    except statistics.StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    # Equal values share the mean of their ranks.
    return [(bisect_left(order, value) + bisect_right(order, value) - 1) / 2 for value in values]
