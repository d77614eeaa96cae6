"""Rotary frequencies for grids beyond the one trained on.

Of one axis: D its width in a head, e = 0, 2, .., D - 2, b the base, theta_e = b^(-e/D) the trained frequencies, L the
positions trained on, s >= 1 the new length over L, t the flow time (0 noise, 1 data). Each method divides theta_e by s
to some power, which it chooses by e:

========== ================================================== ====================
method     as written at its source                           power of s
========== ================================================== ====================
off        theta_e (extrapolation)                            0
interpolate theta_e / s (Chen et al. 2023)                    1
ntk        (b s)^(-e/D), as Lumina-Next's code                e/D
frequency  max((b s^(D/d))^(-e/D), theta_e / s),              min(e/d, 1)
           d = D log_b(L / 2 pi): the wavelength is L
time       the same with d = (D - 1) t + 1                    min(e/d, 1)
time-step  interpolate for t < 0.3, then ntk                  1, then e/D
========== ================================================== ====================

``frequency`` and ``time`` are the Lumina-Next paper's (time as its authors write it in issue 114 of Lumina-T2X), and
``time-step`` is the code that they released, with the watershed of its settings. Where L is below 2 pi every wavelength
is longer than the trained axis, d is not positive, and ``frequency`` takes the limit: all but e = 0 are interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

AUTO, OFF = "auto", "off"
AUTO_METHOD = "time"
"""What auto takes beyond the trained size: not told from the best in ``docs/results.md``, and its authors' choice."""
WATERSHED = 0.3


@dataclass(frozen=True)
class RopeScaling:
    """How the positions of one grid are scaled; equal ones give equal rotary tables.

    Args:
        method: ``interpolate``, ``ntk``, ``frequency`` or ``time``.
        factors: new length over trained length of each axis, at least 1; 1 changes nothing.
        trained: positions of each axis that were trained on.
        t: flow time; only ``time`` reads it.
    """

    method: str
    factors: tuple[float, ...]
    trained: tuple[float, ...]
    t: float = 0.0

    def divisors(self, axis: int, width: int, theta: float) -> torch.Tensor:
        """What the trained frequencies of an axis ``width`` wide are divided by, float64 (width / 2,)."""
        e = torch.arange(0, width, 2, dtype=torch.float64)
        return self.factors[axis] ** self._powers(e, width, theta, self.trained[axis])

    def _powers(self, e: torch.Tensor, width: int, theta: float, trained: float) -> torch.Tensor:
        if self.method == "interpolate":
            return torch.ones_like(e)
        if self.method == "ntk":
            return e / width
        if self.method == "time":
            return (e / ((width - 1) * self.t + 1)).clamp(max=1)
        whole_wave = width * math.log(trained / math.tau, theta)
        return (e / whole_wave).clamp(max=1) if whole_wave > 0 else (e > 0).double()


def scaled(
    method: str, factors: Sequence[float], trained: Sequence[float], times: Sequence[float]
) -> tuple[RopeScaling | None, ...]:
    """The scaling for items at flow times ``times``: one for all where they agree, else one for each.

    None stands for the trained frequencies. A method of ``ROPES``, auto as ``AUTO_METHOD``; factors below 1 count as 1.
    """
    factors = tuple(max(1.0, factor) for factor in factors)
    method = AUTO_METHOD if method == AUTO else method
    if method == OFF or all(factor == 1 for factor in factors):
        return (None,)
    found = [_at(method, factors, tuple(trained), t) for t in times]
    return tuple(found) if len(set(found)) > 1 else (found[0],)


def _at(method: str, factors: tuple[float, ...], trained: tuple[float, ...], t: float) -> RopeScaling:
    if method == "time-step":
        method = "interpolate" if t < WATERSHED else "ntk"
    return RopeScaling(method, factors, trained, t if method == "time" else 0.0)
