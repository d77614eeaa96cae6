"""Step cache: where the velocity hardly changes, the network is not asked; its answer is foretold from those before.

Off unless asked for: it changes the result, and `docs/performance.md` says by how much. The rule is one for every
sampler; it works on guided velocities alone and knows neither network nor host.

A segment is a stretch of steps with one patch size, guidance and motion score; at each switch the velocity jumps, so
nothing is kept across one. In a segment the first evaluations are computed, as many as a line needs. Then

- the relative change of the velocity since the last computed one is foretold as ``rate * |x - x'| / |v|``, summed over
  the steps since, where ``rate = |v - v'| / |x - x'|`` of the last two computed ones (the criterion of EasyCache, arXiv
  2507.02860);
- while that sum stays below the tolerance the velocity is read off the line through the last two computed ones, else
  it is computed and the sum begins anew.

The last step of a run is always computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

from .plan import SamplingPlan
from .solvers import Velocity

RECOMMENDED = 0.2
"""Tolerance that `benchmarks/options.py` finds to lose at most 1 point of accuracy and 5 % of motion."""


@dataclass(frozen=True)
class _Known:
    """A computed velocity, its flow time and the state it was computed for."""

    t: float
    x: torch.Tensor
    velocity: torch.Tensor


class StepCache:
    """What one run keeps: two velocities and a state or two. Make a new one for each run.

    Args:
        tolerance: relative change of the velocity, above 0, up to which it is foretold.
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
        """The velocity at flow time ``t``, like ``x``, computed or foretold.

        Args:
            segment: differs from that of the step before where patch size, guidance or motion score do.
            t: rises from call to call; one call for each step.
            x: the state.
            compute: asks the network.
            last: whether this is the run's last step.
        """
        self.evaluations += 1
        self.newest_reused = False
        if segment != self._segment:
            self._start(segment)
        if self._rate is not None:
            self._change += self._rate * _ratio(x - self._x, self._known[-1].velocity)
            if not last and self._change < self.tolerance:
                self.reused += 1
                self.newest_reused = True
                self._x = x.clone()
                return self._foretell(t)
        return self._compute(t, x, compute)

    def bypass(self) -> None:
        """Count an evaluation that was computed without asking the cache."""
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
        # Some samplers go on in the same memory.
        x = x.clone()
        self._known = [*self._known[-1:], _Known(t, x, velocity)]
        self._change, self._x = 0.0, x
        return velocity

    def _foretell(self, t: float) -> torch.Tensor:
        a, b = self._known
        return b.velocity + (b.velocity - a.velocity) * ((t - b.t) / (b.t - a.t))


class CachedVelocity:
    """A plan's velocity behind its cache, as a solver calls it; with cache 0 it only passes on.

    Args:
        velocity: ``velocity(t, x)``, asks the network.
        plan: gives the tolerance and the segments.
        dtype: the run's, to which t is rounded before it is looked up in the schedules.
        last: flow time of the run's last step.
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
    """Norm over norm; infinite over nothing, which no tolerance allows."""
    change, whole = (float(torch.linalg.vector_norm(values.float())) for values in (change, whole))
    return change / whole if whole > 0 else math.inf


def summary(reused: int, evaluations: int) -> str:
    """How many evaluations of a run were reused, as a sentence for the user."""
    return f"{reused} of {evaluations} evaluations were reused."
