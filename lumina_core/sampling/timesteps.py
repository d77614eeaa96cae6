"""Flow time: 0 is noise, 1 is data; the host's sigma is 1 - t.

A time schedule says in one text where a run evaluates between the two: ``rational`` (or nothing) by the time shift,
``linear``, ``sigmoid``, or a list of times such as ``0, 0.1, 0.4, 1``, whose ends are always written. After a name,
``through 0.1 0.35`` moves the nearest points onto these times, and ``through switches`` onto those where the plan's
schedules change: a step that begins there wastes nothing of what a solver of higher order gains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..errors import LuminaError

RATIONAL, LINEAR, SIGMOID = NAMES = ("rational", "linear", "sigmoid")
# m, a and b of ``sigmoid_times``, as in the slides of Lumina-Next.
SIGMOID_NUMBERS = (0.6, 6.0, 20.0)
# Times of this spacing turn to sigmas and back without rounding.
_SPACING = 2**24
THROUGH, SWITCHES = "through", "switches"
_FORMS = "write rational, linear, sigmoid, or a list such as 0, 0.1, 0.4, 1"


def shift_time(t: torch.Tensor, shift: float) -> torch.Tensor:
    """Spend more of the grid near the noise: ``t / (t + s - s t)`` (paper section 3.2, official integrators.py).

    In sigma this is the usual ``s sigma / (1 + (s - 1) sigma)``. ``shift`` 1 changes nothing.
    """
    return t if shift == 1.0 else t / (t + shift - shift * t)


def time_grid(points: int, shift: float = 1.0) -> torch.Tensor:
    """The official grid: ``points`` float32 times from 0 to 1, so ``points - 1`` steps.

    Computed in float32 as the official sampler does; a float64 grid differs by up to 6e-7 relative. Raises LuminaError.

    Examples:
        >>> [round(t, 3) for t in time_grid(5, shift=4).tolist()]
        [0.0, 0.077, 0.2, 0.429, 1.0]
    """
    if points < 2:
        raise LuminaError(f"points is {points}; a time grid needs at least 2 points (1 step).", field="points")
    if not shift > 0:
        raise LuminaError(f"time shift is {shift}; write a number above 0 (1 = no shift).", field="time_shift")
    return shift_time(torch.linspace(0.0, 1.0, points), shift)


def to_sigmas(grid: torch.Tensor) -> torch.Tensor:
    """The same grid in the host's terms: sigma = 1 - t, falling from 1 to exactly 0."""
    return 1.0 - grid


def sigmoid_times(points: int, middle: float, before: float, after: float) -> torch.Tensor:
    """Two halves of a logistic curve S over u = 0 to 1: S(before (u - middle)) up to the middle, then
    S(after (u - middle)). Dense at both ends; experimental.

    The curve r reaches neither 0 nor 1 by itself, so the ends are rescaled: t = (r(u) - r(0)) / (r(1) - r(0)).
    """
    u = torch.linspace(0.0, 1.0, points, dtype=torch.float64) - middle
    curve = torch.sigmoid(torch.where(u < 0, before * u, after * u))
    return ((curve - curve[0]) / (curve[-1] - curve[0])).float()


def listed_times(times: str) -> tuple[float, ...] | None:
    """The times of a schedule that lists them, None for a named one. Raises LuminaError."""
    words = _words(times)
    if not times.strip() or (words and words[0] in (*NAMES, THROUGH)):
        return None
    if not words or not _is_number(words[0]):
        raise LuminaError(f"times is '{times}', which is no time schedule; {_FORMS}.")
    found = _numbers(times, words)
    if len(found) < 2:
        raise LuminaError(f"times is '{times}', a single number; {_FORMS}.")
    for t in found:
        if not 0 <= t <= 1:
            raise LuminaError(f"times lists {t}; every time lies between 0 (noise) and 1 (data).")
    for before, t in zip(found, found[1:], strict=False):
        if not t > before:
            raise LuminaError(f"times lists {t} after {before}; write times in rising order, none twice.")
    if (found[0], found[-1]) != (0, 1):
        raise LuminaError(f"times goes from {found[0]} to {found[-1]}; begin with 0 (noise) and end with 1 (data).")
    return found


def schedule_times(
    times: str, points: int, shift: float = 1.0, switches: Sequence[float] | None = None
) -> torch.Tensor:
    """The float32 grid of a time schedule, from 0 to 1; raises LuminaError.

    Args:
        times: ``rational`` or empty, ``linear``, ``sigmoid`` (optionally with its three numbers: ``sigmoid 0.6 6 20``)
            or a list; a name may go on with ``through`` and times, or ``through switches``.
        points: of a named schedule.
        shift: time shift of the rational one.
        switches: what ``switches`` stands for; None where nothing is known of them.
    """
    listed = listed_times(times)
    if listed is not None:
        return _rising(times, not_before(listed))
    words = _words(times)
    if THROUGH not in words:
        return _named_times(times, words, points, shift)
    place = words.index(THROUGH)
    grid = _named_times(times, words[:place], points, shift)
    return _rising(times, _through(times, grid, _pins(times, words[place + 1 :], switches)))


def _named_times(times: str, words: list[str], points: int, shift: float) -> torch.Tensor:
    name, *numbers = words or [RATIONAL]
    if name == SIGMOID:
        chosen = _numbers(times, numbers) if numbers else SIGMOID_NUMBERS
        if len(chosen) != 3 or not (0 < chosen[0] < 1 and min(chosen) > 0):
            raise LuminaError(
                f"times is '{times}'; sigmoid takes no numbers or three: its middle between 0 and 1, and two slopes "
                "above 0, such as sigmoid 0.6 6 20."
            )
        time_grid(points)
        return _rising(times, sigmoid_times(points, *chosen))
    if numbers:
        raise LuminaError(f"times is '{times}'; {name} takes no numbers.")
    return time_grid(points, shift if name == RATIONAL else 1.0)


def _pins(times: str, words: list[str], switches: Sequence[float] | None) -> tuple[float, ...]:
    """The times that a grid is to pass through."""
    if words != [SWITCHES]:
        found = _numbers(times, words)
        if not found or not all(0 < t < 1 for t in found):
            raise LuminaError(f"times is '{times}'; after through, write times between 0 and 1, or the word switches.")
        return tuple(sorted(set(found)))
    if switches is None:
        raise LuminaError(
            f"times is '{times}', and no schedules are known here; write the times of their switches after through."
        )
    return tuple(switches)


def _through(times: str, grid: torch.Tensor, pins: Sequence[float]) -> torch.Tensor:
    """``grid`` with the point nearest to each pin moved onto it; its ends stay."""
    if len(pins) > len(grid) - 2:
        raise LuminaError(
            f"times is '{times}', through {len(pins)} times, and points is {len(grid)}; write at least "
            f"{len(pins) + 2} points."
        )
    inner = grid[1:-1].tolist()
    for pin in pins:
        inner.remove(min(inner, key=lambda t: abs(t - pin)))
    return torch.cat([grid[:1], torch.tensor(inner), not_before(pins), grid[-1:]]).sort().values


def not_before(times: Sequence[float]) -> torch.Tensor:
    """Float32 times, none below the one written, so that a value that holds from a time on holds there; and each the
    same after a turn to sigma = 1 - t and back."""
    return (torch.ceil(torch.tensor(times, dtype=torch.float64) * _SPACING) / _SPACING).float()


def _rising(times: str, grid: torch.Tensor) -> torch.Tensor:
    """``grid``, unless two of its times are one in float32, also as sigmas."""
    if not bool((grid.diff() > 0).all() and (to_sigmas(grid).diff() < 0).all()):
        raise LuminaError(f"times is '{times}', whose times are too near to each other; leave a ten-millionth between.")
    return grid


def _words(times: str) -> list[str]:
    return times.lower().replace(",", " ").split()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _numbers(times: str, words: list[str]) -> tuple[float, ...]:
    for word in words:
        if not _is_number(word) or not math.isfinite(float(word)):
            raise LuminaError(f"times is '{times}', where '{word}' is not a number; {_FORMS}.")
    return tuple(map(float, words))
