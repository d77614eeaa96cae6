"""Whether a difference between two rows is more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

SURE = 2.0
"""Standard errors beyond which a difference is called one."""


@dataclass(frozen=True)
class Difference:
    """Mean of second minus first over the same prompts and noises, and its standard error."""

    mean: float
    error: float

    @property
    def sign(self) -> int:
        """1 or -1 where the difference is beyond chance, else 0."""
        return 0 if abs(self.mean) <= SURE * self.error else int(math.copysign(1, self.mean))


def paired(first: list[float], second: list[float]) -> Difference:
    gaps = [b - a for a, b in zip(first, second, strict=True)]
    centre = sum(gaps) / len(gaps)
    if len(gaps) == 1:
        return Difference(centre, abs(centre))  # one pair says nothing about chance
    variance = sum((gap - centre) ** 2 for gap in gaps) / (len(gaps) - 1)
    return Difference(centre, math.sqrt(variance / len(gaps)))


def quantile(values: list[float], share: float) -> float:
    """The value that a share of the others lie below, straight between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
