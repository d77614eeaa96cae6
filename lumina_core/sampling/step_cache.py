"""Step cache: skips the forward pass where the velocity hardly changes, and extrapolates it from earlier steps.

It is off by default, because it changes the result; docs/performance.md says by how much. It works on guided velocities
alone, so every sampler can use it.

A segment is a sequence of steps with one patch size, guidance and motion score. Between segments the velocity jumps, so
nothing is kept. The first two evaluations of a segment are computed. Then

- the relative change of the velocity since the last computed one is estimated as ``rate * |x - x'| / |v|``, summed over
  the steps since, where ``rate = |v - v'| / |x - x'|`` of the last two computed ones (the criterion of EasyCache, arXiv
  2507.02860);
- while that sum is below the tolerance, the velocity is extrapolated along the line through the last two computed ones;
  otherwise it is computed and the sum restarts at 0.

The last step of a run is always computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

from .plan import SamplingPlan
from .solvers import Velocity

# Tolerance at which benchmarks/options.py measured a loss of at most 1 point of accuracy and 5 % of motion.
RECOMMENDED = 0.2


@dataclass(frozen=True)
class _Known:
    """A computed velocity, with the timestep and the state that it was computed for."""

    t: float
    x: torch.Tensor
    velocity: torch.Tensor


class StepCache:
    """The cache of one run: two velocities and up to three states. Make a new one for each run.

    Args:
        tolerance: relative change of the velocity, above 0, up to which it is extrapolated.

    Attributes:
        evaluations: how many velocities were asked for.
        reused: how many of them were extrapolated.
        newest_reused: whether the newest one was extrapolated.
    """

    def __init__(self, tolerance: float):
        self.tolerance = tolerance
        self.evaluations = 0
        self.reused = 0
        self.newest_reused = False
        self._start(None)

    def velocity(
        self, segment: Hashable, t: float, x: torch.Tensor, compute: Callable[[], torch.Tensor], last: bool
    ) -> torch.Tensor:
        """The velocity at timestep ``t``, of the shape of ``x``, computed or extrapolated.

        Args:
            segment: differs from that of the step before if patch size, guidance or motion score do.
            t: rises from call to call, with one call per step.
            x: the state (B, ...).
            compute: runs the network.
            last: whether this is the last step of the run.
        """
        self.evaluations += 1
        self.newest_reused = False
        if segment != self._segment:
            self._start(segment)
        if self._rate is not None and self._x is not None:
            self._change += self._rate * _ratio(x - self._x, self._known[-1].velocity)
            if not last and self._change < self.tolerance:
                self.reused += 1
                self.newest_reused = True
                self._x = x.clone()
                return self._extrapolate(t)
        return self._compute(t, x, compute)

    def bypass(self) -> None:
        """Count an evaluation that was computed without the cache."""
        self.evaluations += 1
        self.newest_reused = False

    def _start(self, segment: Hashable) -> None:
        self._segment = segment
        self._known: list[_Known] = []
        self._rate: float | None = None
        self._change = 0.0
        self._x: torch.Tensor | None = None

    def _compute(self, t: float, x: torch.Tensor, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        velocity = compute()
        if self._known:
            before = self._known[-1]
            self._rate = _ratio(velocity - before.velocity, x - before.x)
        # Some samplers update the state in place.
        x = x.clone()
        self._known = [*self._known[-1:], _Known(t, x, velocity)]
        self._change, self._x = 0.0, x
        return velocity

    def _extrapolate(self, t: float) -> torch.Tensor:
        a, b = self._known
        return b.velocity + (b.velocity - a.velocity) * ((t - b.t) / (b.t - a.t))


class CachedVelocity:
    """A velocity for a solver that uses the step cache of a plan; with a tolerance of 0 it always computes.

    Args:
        velocity: ``velocity(t, x)``, runs the network.
        plan: gives the tolerance and the segments.
        dtype: of the run; t is rounded to it before the schedules are looked up.
        last: timestep at which the last step of the run starts.
    """

    def __init__(self, velocity: Velocity, plan: SamplingPlan, dtype: torch.dtype, last: torch.Tensor):
        self.compute, self.plan, self.dtype, self.last = velocity, plan, dtype, last
        self.cache = StepCache(plan.cache) if plan.cache else None

    @property
    def reused(self) -> bool:
        """Whether the newest velocity came from the cache."""
        return self.cache is not None and self.cache.newest_reused

    def __call__(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if self.cache is None:
            return self.compute(t, x)
        segment = self.plan.at(float(t.to(self.dtype))).segment
        return self.cache.velocity(segment, float(t), x, lambda: self.compute(t, x), last=bool(t >= self.last))


def _ratio(change: torch.Tensor, whole: torch.Tensor) -> float:
    """The norm of ``change`` over that of ``whole``; infinite if that is 0, which no tolerance allows."""
    numerator, denominator = (float(torch.linalg.vector_norm(values.float())) for values in (change, whole))
    return numerator / denominator if denominator > 0 else math.inf


def summary(reused: int, evaluations: int) -> str:
    """A sentence for the user that says how many evaluations the step cache answered."""
    return f"{reused} of {evaluations} evaluations were reused."
