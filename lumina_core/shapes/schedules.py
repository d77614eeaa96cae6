"""Schedules: values that change with the timestep, and the parser of their text form.

Every kind of value has the same grammar: ``first | t1: second | t2: third``. The first value applies from t = 0, and
each later one from its threshold on. Thresholds lie in (0, 1) and increase from left to right. They are compared with
the time-shifted t by ``>=``, and the last match wins (official ``value_from_time_aware_config``).
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
    """A schedule that cannot be parsed.

    Args:
        message: see ``LuminaError``; it names the segment.
        segment: number of the segment at fault, from 1; None if it is the whole schedule.
        field: the setting that holds the schedule, where it is known.
    """

    def __init__(self, message: str, segment: int | None = None, field: str | None = None):
        super().__init__(message, field=field, kind="value")
        self.segment = segment


@dataclass(frozen=True, order=True)
class PatchSize:
    """Latent frames and latent pixels per side that one token covers, written ``2x4``.

    Checkpoint keys have the reverse order: ``all_x_embedder.4-2`` has space 4 and frames 2.

    Args:
        frames: latent frames.
        space: latent pixels along height and along width.

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
        """Its part of a checkpoint key, ``<space>-<frames>``."""
        return f"{self.space}-{self.frames}"

    @classmethod
    def from_key(cls, key: str) -> PatchSize:
        """The inverse of ``key``. Raises ValueError for text of another form."""
        space, frames = key.split("-")
        return cls(int(frames), int(space))

    @classmethod
    def parse(cls, text: str) -> PatchSize:
        """Parse text such as ``2x4``. Raises ScheduleError."""
        match = _PATCH.fullmatch(text.strip())
        if match is None or "0" in match.groups():
            raise ScheduleError(f"'{text.strip()}' is not a patch size; write frames x space, such as 1x2, 2x2 or 2x4.")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Piecewise(Generic[T]):
    """A step function of t: ``values[0]`` from t = 0, ``values[i]`` from ``thresholds[i - 1]`` on.

    Args:
        values: one more than thresholds.
        thresholds: timesteps in (0, 1), increasing.

    Raises:
        ScheduleError: a wrong number of values, or thresholds out of range or order.

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
        """The schedule that has ``value`` at every t."""
        return cls((value,))

    def at(self, t: float) -> T:
        """The value at timestep t, which the caller has rounded to the run's dtype."""
        value = self.values[0]
        for threshold, later in zip(self.thresholds, self.values[1:], strict=True):
            if t < threshold:
                break
            value = later
        return value

    def format(self) -> str:
        """Canonical text, which parses to an equal schedule."""
        parts = [_value_text(self.values[0])]
        for threshold, value in zip(self.thresholds, self.values[1:], strict=True):
            parts.append(f"{_number_text(threshold)}: {_value_text(value)}")
        return " | ".join(parts)

    __str__ = format


def parse_patch(text: str) -> Piecewise[PatchSize]:
    """Parse a patch schedule such as ``2x4 | 0.03: 2x2 | 0.125: 1x2``. Raises ScheduleError."""
    return _parse(text, PatchSize.parse)


def parse_number(text: str) -> Piecewise[float | None]:
    """Parse a schedule of numbers such as ``20 | 0.2: 0``; ``none`` gives None. Raises ScheduleError."""
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
