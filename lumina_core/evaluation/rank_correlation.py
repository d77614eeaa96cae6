"""How far two lists of numbers agree in order."""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, -1 to 1, ties sharing their mean rank; None where either list never changes."""
    try:
        return statistics.correlation(_ranks(first), _ranks(second))
    except statistics.StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    # Equal values share the mean of their places.
    return [(bisect_left(order, value) + bisect_right(order, value) - 1) / 2 for value in values]
