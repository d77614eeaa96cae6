"""Timesteps: t = 0 is noise and t = 1 is data; ComfyUI's sigma is 1 - t.

A time schedule is a text that says at which timesteps a run evaluates the velocity: ``rational`` (or empty) uses the
time shift, ``linear`` and ``sigmoid`` do not, and a list such as ``0, 0.1, 0.4, 1`` gives the timesteps, both ends
included. After a name, ``through 0.1 0.35`` moves the nearest points onto these timesteps, and ``through switches``
onto those where the schedules of the plan change, so that no step of a higher-order solver crosses a jump of the
velocity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..errors import LuminaError

# Names of time schedules.
RATIONAL, LINEAR, SIGMOID = NAMES = ("rational", "linear", "sigmoid")
# ``middle``, ``before`` and ``after`` of ``sigmoid_times``, from the slides of Lumina-Next.
SIGMOID_DEFAULTS = (0.6, 6.0, 20.0)
# Timesteps that are multiples of 1 / _SPACING convert to sigmas and back without rounding.
_SPACING = 2**24
# Keywords of a time schedule.
THROUGH, SWITCHES = "through", "switches"
_FORMS = "write rational, linear, sigmoid, or a list such as 0, 0.1, 0.4, 1"


def shift_time(t: torch.Tensor, shift: float) -> torch.Tensor:
    """Shifted timesteps ``t / (t + s - s t)`` (paper section 3.2, official integrators.py).

    In terms of sigma this is the usual ``s sigma / (1 + (s - 1) sigma)``.

    Args:
        t: timesteps, 0 to 1.
        shift: s, above 0; above 1 moves timesteps toward the noise, and 1 changes nothing.
    """
    return t if shift == 1.0 else t / (t + shift - shift * t)


def time_grid(points: int, shift: float = 1.0) -> torch.Tensor:
    """The official time grid: ``points`` float32 timesteps from 0 to 1, so ``points - 1`` steps.

    It is computed in float32 as in the official sampler; a float64 grid differs by up to 6e-7 relative.

    Args:
        points: at least 2.
        shift: see ``shift_time``.

    Raises:
        LuminaError: one of them is out of range.

    Examples:
        >>> [round(t, 3) for t in time_grid(5, shift=4).tolist()]
        [0.0, 0.077, 0.2, 0.429, 1.0]
    """
    if points < 2:
        raise LuminaError(
            f"points is {points}; a time grid needs at least 2 points (1 step).", field="points", kind="value"
        )
    if not shift > 0:
        raise LuminaError(
            f"time shift is {shift}; write a number above 0 (1 = no shift).", field="time_shift", kind="value"
        )
    return shift_time(torch.linspace(0.0, 1.0, points), shift)


def to_sigmas(grid: torch.Tensor) -> torch.Tensor:
    """The grid as ComfyUI's sigmas 1 - t, falling from 1 to exactly 0."""
    return 1.0 - grid


def sigmoid_times(points: int, middle: float, before: float, after: float) -> torch.Tensor:
    """The sigmoid schedule of Lumina-Next's slides, dense at both ends; experimental.

    It joins two halves of a logistic curve S over u = 0 to 1: S(before (u - middle)) up to the middle, then
    S(after (u - middle)). The curve r does not reach 0 and 1, so it is rescaled: t = (r(u) - r(0)) / (r(1) - r(0)).

    Args:
        points: length of the result.
        middle: u at which the halves meet, 0 to 1.
        before, after: slopes of the halves, above 0.

    Returns:
        Float32 timesteps from 0 to 1.
    """
    u = torch.linspace(0.0, 1.0, points, dtype=torch.float64) - middle
    curve = torch.sigmoid(torch.where(u < 0, before * u, after * u))
    return ((curve - curve[0]) / (curve[-1] - curve[0])).float()


def listed_times(times: str) -> tuple[float, ...] | None:
    """The timesteps of a schedule that lists them, or None for a named schedule. Raises LuminaError."""
    words = _words(times)
    if not times.strip() or (words and words[0] in (*NAMES, THROUGH)):
        return None
    if not words or not _parses(words[0]):
        raise LuminaError(f"times is '{times}', which is not a time schedule; {_FORMS}.", field="times", kind="value")
    found = _numbers(times, words)
    if len(found) < 2:
        raise LuminaError(f"times is '{times}', a single number; {_FORMS}.", field="times", kind="value")
    for t in found:
        if not 0 <= t <= 1:
            raise LuminaError(f"times lists {t}; write values from 0 (noise) to 1 (data).", field="times", kind="value")
    for before, t in zip(found, found[1:], strict=False):
        if not t > before:
            raise LuminaError(
                f"times lists {t} after {before}; write times in rising order, none twice.", field="times", kind="value"
            )
    if (found[0], found[-1]) != (0, 1):
        raise LuminaError(
            f"times goes from {found[0]} to {found[-1]}; begin with 0 (noise) and end with 1 (data).",
            field="times",
            kind="value",
        )
    return found


def schedule_times(
    times: str, points: int, shift: float = 1.0, switches: Sequence[float] | None = None
) -> torch.Tensor:
    """The float32 time grid of a time schedule, from 0 to 1.

    Args:
        times: ``rational`` or empty, ``linear``, ``sigmoid`` (or, with its three parameters, ``sigmoid 0.6 6 20``), or
            a list. A name may be followed by ``through`` and timesteps, or by ``through switches``.
        points: of a named schedule, at least 2.
        shift: time shift of the rational schedule.
        switches: the timesteps that ``through switches`` means; None if the caller has no schedules.

    Raises:
        LuminaError: the schedule does not parse, or its timesteps are too close together.
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
        chosen = _numbers(times, numbers) if numbers else SIGMOID_DEFAULTS
        if len(chosen) != 3 or not (0 < chosen[0] < 1 and min(chosen) > 0):
            raise LuminaError(
                f"times is '{times}'; sigmoid takes no numbers or three: its middle between 0 and 1, and two slopes "
                "above 0, such as sigmoid 0.6 6 20.",
                field="times",
                kind="value",
            )
        time_grid(points)
        return _rising(times, sigmoid_times(points, *chosen))
    if numbers:
        raise LuminaError(f"times is '{times}'; write {name} without numbers.", field="times", kind="value")
    return time_grid(points, shift if name == RATIONAL else 1.0)


def _pins(times: str, words: list[str], switches: Sequence[float] | None) -> tuple[float, ...]:
    """The timesteps after ``through``."""
    if words != [SWITCHES]:
        found = _numbers(times, words)
        if not found or not all(0 < t < 1 for t in found):
            raise LuminaError(
                f"times is '{times}'; after through, write times between 0 and 1, or the word switches.",
                field="times",
                kind="value",
            )
        return tuple(sorted(set(found)))
    if switches is None:
        raise LuminaError(
            f"times is '{times}', and no schedules are known here; write the times of their switches after through.",
            field="times",
            kind="value",
        )
    return tuple(switches)


def _through(times: str, grid: torch.Tensor, pins: Sequence[float]) -> torch.Tensor:
    """``grid`` with the point nearest to each pin moved onto it; the ends do not move."""
    if len(pins) > len(grid) - 2:
        raise LuminaError(
            f"times is '{times}', through {len(pins)} times, and points is {len(grid)}; write at least "
            f"{len(pins) + 2} points.",
            field="points",
            kind="value",
        )
    inner = grid[1:-1].tolist()
    for pin in pins:
        inner.remove(min(inner, key=lambda t: abs(t - pin)))
    return torch.cat([grid[:1], torch.tensor(inner), not_before(pins), grid[-1:]]).sort().values


def not_before(times: Sequence[float]) -> torch.Tensor:
    """The timesteps in float32, rounded up, so that a schedule has already switched at a timestep where it switches.

    Each is unchanged by conversion to sigma = 1 - t and back.
    """
    return (torch.ceil(torch.tensor(times, dtype=torch.float64) * _SPACING) / _SPACING).float()


def _rising(times: str, grid: torch.Tensor) -> torch.Tensor:
    """``grid``, if no two of its timesteps are equal in float32, as timesteps or as sigmas. Raises LuminaError."""
    if not bool((grid.diff() > 0).all() and (to_sigmas(grid).diff() < 0).all()):
        raise LuminaError(
            f"times is '{times}', with values too close together; leave at least 1e-7 between them.",
            field="times",
            kind="value",
        )
    return grid


def _words(times: str) -> list[str]:
    return times.lower().replace(",", " ").split()


def _parses(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _numbers(times: str, words: list[str]) -> tuple[float, ...]:
    for word in words:
        if not _parses(word) or not math.isfinite(float(word)):
            raise LuminaError(
                f"times is '{times}', where '{word}' is not a number; {_FORMS}.", field="times", kind="value"
            )
    return tuple(map(float, words))
