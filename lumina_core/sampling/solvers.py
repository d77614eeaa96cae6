"""Fixed-step ODE solvers for dx/dt = velocity(t, x), under one interface.

euler, midpoint, heun2, rk4 and heun3 know one step only. Their names and formulas are torchdiffeq's, which the official
sampler calls: ``rk4`` is the 3/8 rule; ``heun2`` and ``rk4`` also evaluate the end of the step, so t = 1.

adams2, adams3 and dpmpp_2m evaluate once a step and remember steps before it, on grids of any spacing. They begin with
lower order, so that no step costs more than one evaluation, and begin anew where the velocity jumps, as what they know
of before says nothing about what comes then. Since every stretch begins with a step of Euler's, adams3 is of third
order only where these first steps are short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``velocity(t, x)``: t a float32 scalar tensor, x the state; returns a tensor like x."""


@dataclass(frozen=True)
class _Known:
    """What a step left behind: where it began, and the velocity or the estimate of the data there."""

    t: float
    value: torch.Tensor


@dataclass(frozen=True)
class Solver:
    """A rule for one step.

    Args:
        order: power of the step that the error of a run falls with.
        fractions: of the step, where it evaluates; the first is 0.
        advance: ``advance(velocity, x, times, t1, v, past)`` returns the state at t1, from the ``stage_times``, the
            velocity v at the first of them and what the steps before left, newest first.
        memory: how many steps before this one it reads.
        remember: ``remember(t, x, v)``, what a step leaves behind.
    """

    order: int
    fractions: tuple[float, ...]
    advance: Callable[..., torch.Tensor]
    memory: int = 0
    remember: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    @property
    def evaluations(self) -> int:
        """Evaluations of the velocity in one step."""
        return len(self.fractions)

    @property
    def points(self) -> int:
        """The fewest points of a time grid on which it reaches its order."""
        return self.memory + 2

    def stage_times(self, t0: torch.Tensor, t1: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Where the step from t0 to t1 evaluates, in order."""
        return tuple(t1 if part == 1 else t0 + (t1 - t0) * part for part in self.fractions)


class SolverRun:
    """A solver with what one run remembers; make a new one for each run.

    ``segment(t)`` is asked after the evaluation at t where a step begins; where it answers otherwise than a step
    before, the velocity may have jumped, and nothing remembered is used.
    """

    def __init__(self, solver: Solver, segment: Callable[[torch.Tensor], Hashable] = lambda t: None):
        self.solver, self.segment = solver, segment
        self._last: Hashable = None
        self._past: list[_Known] = []

    def step(
        self, velocity: Velocity, x: torch.Tensor, t0: torch.Tensor, t1: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The state at t1, and the velocity at t0."""
        v = velocity(t0, x)
        past = self._stretch(t0, t1)
        following = self.solver.advance(velocity, x, self.solver.stage_times(t0, t1), t1, v, past)
        if self.solver.remember is not None:
            known = _Known(float(t0), self.solver.remember(t0, x, v))
            self._past = [known, *past][: self.solver.memory]
        return following, v

    def _stretch(self, t0: torch.Tensor, t1: torch.Tensor) -> list[_Known]:
        """What is known of the stretch that this step goes on with."""
        if not self.solver.memory:
            return []
        before, self._last = self._last, self.segment(t0)
        # Sigmas of other nodes may stand still or turn round.
        onwards = all((float(t0) - known.t) * float(t1 - t0) > 0 for known in self._past)
        return self._past if onwards and before == self._last else []


def _euler(velocity, x, times, t1, v, past):
    return x + (t1 - times[0]) * v


def _midpoint(velocity, x, times, t1, v, past):
    t0, middle = times
    dt = t1 - t0
    return x + dt * velocity(middle, x + v * (0.5 * dt))


def _heun2(velocity, x, times, t1, v, past):
    dt = t1 - times[0]
    v2 = velocity(t1, x + dt * v)
    return x + dt * 0.5 * (v + v2)


def _heun3(velocity, x, times, t1, v, past):
    ta, tb, tc = times
    dt = t1 - ta
    v2 = velocity(tb, x + dt * v * (1 / 3))
    v3 = velocity(tc, x + dt * v2 * (2 / 3))
    return x + (v + 3 * v3) * dt * 0.25


def _rk4(velocity, x, times, t1, v, past):
    ta, tb, tc, td = times
    dt = t1 - ta
    v2 = velocity(tb, x + dt * v * (1 / 3))
    v3 = velocity(tc, x + dt * (v2 - v * (1 / 3)))
    v4 = velocity(td, x + dt * (v - v2 + v3))
    return x + (v + 3 * (v2 + v3) + v4) * dt * 0.125


def _adams(velocity, x, times, t1, v, past):
    """Adams-Bashforth: the integral of the polynomial through the known velocities, by divided differences."""
    t0 = float(times[0])
    h = float(t1) - t0
    following = x + h * v
    if past:
        h1 = t0 - past[0].t
        first = (v - past[0].value) / h1
        following = following + (h**2 / 2) * first
    if len(past) > 1:
        h2 = past[0].t - past[1].t
        second = (first - (past[0].value - past[1].value) / h2) / (h1 + h2)
        following = following + (h**3 / 3 + h1 * h**2 / 2) * second
    return following


def _dpmpp_2m(velocity, x, times, t1, v, past):
    """DPM-Solver++ 2M (arXiv 2211.01095, algorithm 2) for x_t = t data + (1 - t) noise.

    Its first order is Euler's step, exactly. The second adds a line through the last two estimates of the data over
    half the log of the signal-to-noise ratio, log(t / (1 - t)): that is infinite at t = 0, whose estimate then has no
    weight, and at t = 1, where the last step stays Euler's.
    """
    (t0,) = times
    following = x + (t1 - t0) * v
    if not past or not all(0 < t < 1 for t in (past[0].t, t0, t1)):
        return following
    before, now, after = (math.log(t / (1 - t)) for t in (past[0].t, float(t0), float(t1)))
    slope = (_data(t0, x, v) - past[0].value) * ((after - now) / (2 * (now - before)))
    return following + (t1 - t0) / (1 - t0) * slope


def _velocity(t, x, v):
    return v


def _data(t, x, v):
    return x + (1 - t) * v


SOLVERS: dict[str, Solver] = {
    "euler": Solver(1, (0,), _euler),
    "midpoint": Solver(2, (0, 0.5), _midpoint),
    "heun2": Solver(2, (0, 1), _heun2),
    "rk4": Solver(4, (0, 1 / 3, 2 / 3, 1), _rk4),
    "heun3": Solver(3, (0, 1 / 3, 2 / 3), _heun3),
    "adams2": Solver(2, (0,), _adams, memory=1, remember=_velocity),
    "adams3": Solver(3, (0,), _adams, memory=2, remember=_velocity),
    "dpmpp_2m": Solver(2, (0,), _dpmpp_2m, memory=1, remember=_data),
}
