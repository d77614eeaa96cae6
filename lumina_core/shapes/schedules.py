"""Values that change with flow time, and the only parser of their text form.

Grammar, one for every kind of value: ``first | t1: second | t2: third``. The first value holds from t = 0; each later
one holds from its threshold on. Thresholds lie inside (0, 1), rise from left to right, and are compared with the
time-shifted t by ``>=``; the last match wins (official ``value_from_time_aware_config``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import LuminaError

T = TypeVar("T")
NO_VALUE = "none"
_PATCH = re.compile(r"(\d+)\s*[xX×]\s*(\d+)")


class ScheduleError(LuminaError):
    """A schedule that does not parse; the sentence names the segment, and ``segment`` is it, counted from 1."""

    def __init__(self, sentence: str, segment: int | None = None):
        super().__init__(sentence)
        self.segment = segment


@dataclass(frozen=True, order=True)
class PatchSize:
    """How many latent frames and how many latent pixels per side one token covers, written ``2x4``.

    Checkpoint keys say it the other way round: ``all_x_embedder.4-2`` is space 4, frames 2.

    Examples:
        >>> patch = PatchSize.parse("2x4")
        >>> patch.frames, patch.space, patch.key
        (2, 4, '4-2')
    """

    frames: int
    space: int

    def __str__(self) -> str:
        return f"{self.frames}x{self.space}"

    @property
    def key(self) -> str:
        """The published key segment, ``<space>-<frames>``."""
        return f"{self.space}-{self.frames}"

    @classmethod
    def from_key(cls, key: str) -> PatchSize:
        space, frames = key.split("-")
        return cls(int(frames), int(space))

    @classmethod
    def parse(cls, text: str) -> PatchSize:
        """Read ``2x4``; raises ScheduleError."""
        match = _PATCH.fullmatch(text.strip())
        if match is None or "0" in match.groups():
            raise ScheduleError(f"'{text.strip()}' is not a patch size; write frames x space, such as 1x2, 2x2 or 2x4.")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Piecewise(Generic[T]):
    """A step function of t: ``values[0]`` from t = 0, ``values[i]`` from ``thresholds[i - 1]`` on.

    Examples:
        >>> schedule = parse_patch("2x4 | 0.03: 2x2 | 0.125: 1x2")
        >>> schedule.at(0.05)
        PatchSize(frames=2, space=2)
        >>> Piecewise((20.0, 0.0), (0.2,)).format()
        '20 | 0.2: 0'
    """

    values: tuple[T, ...]
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.values) != len(self.thresholds) + 1:
            raise ScheduleError(
                f"A schedule needs one value more than thresholds; found {len(self.values)} values "
                f"and {len(self.thresholds)} thresholds."
            )
        previous = 0.0
        for number, threshold in enumerate(self.thresholds, start=2):
            if not 0.0 < threshold < 1.0:
                raise ScheduleError(
                    f"Segment {number} starts at t = {_number_text(threshold)}; "
                    "a threshold lies between 0 (noise) and 1 (data), both excluded.",
                    number,
                )
            if threshold <= previous:
                raise ScheduleError(
                    f"Segment {number} starts at t = {_number_text(threshold)}, which is not after the threshold "
                    f"{_number_text(previous)} before it; write thresholds in rising order.",
                    number,
                )
            previous = threshold

    @classmethod
    def constant(cls, value: T) -> Piecewise[T]:
        return cls((value,))

    def at(self, t: float) -> T:
        """The value at flow time t (already rounded to the run's dtype by the caller)."""
        value = self.values[0]
        for threshold, later in zip(self.thresholds, self.values[1:], strict=True):
            if t < threshold:
                break
            value = later
        return value

    def format(self) -> str:
        """Canonical text; ``parse(s.format()) == s``."""
        parts = [_value_text(self.values[0])]
        for threshold, value in zip(self.thresholds, self.values[1:], strict=True):
            parts.append(f"{_number_text(threshold)}: {_value_text(value)}")
        return " | ".join(parts)

    __str__ = format


def parse_patch(text: str) -> Piecewise[PatchSize]:
    """Read a patch schedule such as ``2x4 | 0.03: 2x2 | 0.125: 1x2``; raises ScheduleError."""
    return _parse(text, PatchSize.parse)


def parse_number(text: str) -> Piecewise[float | None]:
    """Read a schedule of numbers such as ``20 | 0.2: 0``; ``none`` is no value. Raises ScheduleError."""
    return _parse(text, _parse_value)


def _parse(text: str, parse_value: Callable[[str], T]) -> Piecewise[T]:
    if not isinstance(text, str):
        raise ScheduleError(f"A schedule is text such as '2x4 | 0.03: 2x2'; found {type(text).__name__}.")
    values: list[T] = []
    thresholds: list[float] = []
    for number, segment in enumerate(text.split("|"), start=1):
        head, colon, tail = segment.partition(":")
        if number == 1 and colon:
            raise ScheduleError(
                f"Segment 1 '{segment.strip()}' has a threshold; the first value holds from t = 0, write it alone.",
                number,
            )
        if number > 1 and not colon:
            raise ScheduleError(f"Segment {number} '{segment.strip()}' has no threshold; write 't: value'.", number)
        if colon:
            thresholds.append(_parse_threshold(head, number))
        try:
            values.append(parse_value(tail if colon else head))
        except ScheduleError as error:
            raise ScheduleError(f"Segment {number}: {error}", number) from None
    return Piecewise(tuple(values), tuple(thresholds))


def _parse_threshold(text: str, number: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise ScheduleError(
            f"Segment {number}: '{text.strip()}' is not a threshold; write a number between 0 and 1 before the colon.",
            number,
        ) from None


def _parse_value(text: str) -> float | None:
    if text.strip().lower() == NO_VALUE:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ScheduleError(f"'{text.strip()}' is not a number; write a number such as 6, or none.") from None
    if not math.isfinite(value):
        raise ScheduleError(f"'{text.strip()}' is not a finite number; write a number such as 6, or none.")
    return value


def _value_text(value: object) -> str:
    if value is None:
        return NO_VALUE
    return _number_text(value) if isinstance(value, (int, float)) else str(value)


def _number_text(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
