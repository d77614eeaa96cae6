"""RoPE scaling: rotary frequencies for grids larger than the trained one.

For one axis, D is its part of the head width, e = 0, 2, .., D - 2, b the base, theta_e = b^(-e/D) the trained
frequencies, L the number of trained positions, s >= 1 the new length over L, and t the timestep (0 noise, 1 data). Each
method divides theta_e by a power of s that depends on e:

========== ================================================== ====================
method     formula at its source                              power of s
========== ================================================== ====================
off        theta_e (extrapolation)                            0
interpolate theta_e / s (Chen et al. 2023)                    1
ntk        (b s)^(-e/D), as Lumina-Next's code                e/D
frequency  max((b s^(D/d))^(-e/D), theta_e / s),              min(e/d, 1)
           d = D log_b(L / 2 pi): the wavelength is L
time       the same with d = (D - 1) t + 1                    min(e/d, 1)
time-step  interpolate for t < 0.3, then ntk                  1, then e/D
========== ================================================== ====================

``frequency`` and ``time`` are from the Lumina-Next paper (``time`` as its authors write it in issue 114 of Lumina-T2X).
``time-step`` is their released code, with its default ``scale_watershed`` of 0.3. If L is below 2 pi, every wavelength
is longer than the trained axis and d is not positive; ``frequency`` then takes the limit, interpolating all but e = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

AUTO, OFF = "auto", "off"
# The method of auto: the choice of the paper's authors, and no worse than the best one in docs/results.md.
AUTO_METHOD = "time"
# Timestep at which time-step changes from interpolate to ntk.
WATERSHED = 0.3


@dataclass(frozen=True)
class RopeScaling:
    """The scaling of one grid; equal scalings give equal rotary tables.

    Args:
        method: ``interpolate``, ``ntk``, ``frequency`` or ``time``.
        factors: new over trained length of each axis, at least 1; 1 changes nothing.
        trained: number of trained positions of each axis.
        t: timestep, 0 to 1, which only ``time`` uses.
    """

    method: str
    factors: tuple[float, ...]
    trained: tuple[float, ...]
    t: float = 0.0

    def divisors(self, axis: int, width: int, theta: float) -> torch.Tensor:
        """Divisors of the trained frequencies of one axis, float64 (width / 2,).

        Args:
            axis: index into ``factors``.
            width: part of the head width that encodes the axis.
            theta: base of the frequencies.
        """
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
    """The scaling of a batch: one for all samples if they agree, else one per sample; None is as in training.

    Args:
        method: one of ``forward_options.ROPES``.
        factors: new over trained length of each axis; below 1 counts as 1.
        trained: number of trained positions of each axis.
        times: timesteps of the samples, 0 to 1.
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
