"""Fixed-step ODE solvers for dx/dt = velocity(t, x), under one interface.

euler, midpoint, heun2, rk4 and heun3 are single-step methods. Their names and formulas are those of torchdiffeq, which
the official sampler uses: ``rk4`` is the 3/8 rule, and ``heun2`` and ``rk4`` also evaluate the end of
the step, so t = 1.

adams2, adams3 and dpmpp_2m are multistep methods with one evaluation per step, on grids of any spacing. They start at
lower order, so that no step needs more than one evaluation. They restart where the velocity jumps, because earlier
velocities do not predict the one after a jump. Since each start is an Euler step, adams3 is of third order only where
these first steps are short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from torch import Tensor

# ``velocity(t, x)``: t is a float32 scalar tensor, x the state (B, ...); returns a tensor like x.
Velocity = Callable[[Tensor, Tensor], Tensor]
# The ``stage_times`` of a step.
Times = tuple[Tensor, ...]


@dataclass(frozen=True)
class _Known:
    """What a multistep solver keeps of a step: its start, and the velocity or the estimate of the data there."""

    t: float
    value: Tensor


@dataclass(frozen=True)
class Solver:
    """A method for one step.

    Args:
        order: order of convergence: the error of a run is proportional to this power of the step size.
        fractions: where in the step it evaluates the velocity, 0 to 1; the first is 0.
        advance: ``advance(velocity, x, times, t1, v, past)`` returns the state at t1, given the ``stage_times``, the
            velocity v at the first of them and what was kept of earlier steps, newest first.
        memory: how many earlier steps it uses.
        remember: ``remember(t, x, v)`` returns what is kept of a step; None for single-step methods.
    """

    order: int
    fractions: tuple[float, ...]
    advance: Callable[..., Tensor]
    memory: int = 0
    remember: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    @property
    def evaluations(self) -> int:
        """Evaluations of the velocity per step."""
        return len(self.fractions)

    @property
    def points(self) -> int:
        """The fewest points of a time grid on which it can reach its order."""
        return self.memory + 2

    def stage_times(self, t0: Tensor, t1: Tensor) -> tuple[Tensor, ...]:
        """The timesteps at which the step from t0 to t1 evaluates the velocity, in order."""
        return tuple(t1 if part == 1 else t0 + (t1 - t0) * part for part in self.fractions)


class SolverRun:
    """A solver with the history of one run. Make a new one for each run.

    Args:
        solver: the method.
        segment: ``segment(t)`` is called at the start of each step, after its first evaluation. Where its result
            differs from that of the step before, the velocity may have jumped, and the history is dropped.
    """

    def __init__(self, solver: Solver, segment: Callable[[Tensor], Hashable] = lambda t: None):
        self.solver, self.segment = solver, segment
        self._last: Hashable = None
        self._past: list[_Known] = []

    def step(self, velocity: Velocity, x: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        """Advance the state ``x`` (B, ...) from t0 to t1, both scalar tensors.

        Returns:
            The state at t1, and the velocity at t0.
        """
        v = velocity(t0, x)
        past = self._usable_history(t0, t1)
        following = self.solver.advance(velocity, x, self.solver.stage_times(t0, t1), t1, v, past)
        if self.solver.remember is not None:
            known = _Known(float(t0), self.solver.remember(t0, x, v))
            self._past = [known, *past][: self.solver.memory]
        return following, v

    def _usable_history(self, t0: Tensor, t1: Tensor) -> list[_Known]:
        """The earlier steps of the same segment, newest first."""
        if not self.solver.memory:
            return []
        before, self._last = self._last, self.segment(t0)
        # Sigmas of other nodes may repeat or change direction.
        monotonic = all((float(t0) - known.t) * float(t1 - t0) > 0 for known in self._past)
        return self._past if monotonic and before == self._last else []


def _euler(velocity: Velocity, x: Tensor, times: Times, t1: Tensor, v: Tensor, past: list[_Known]) -> Tensor:
    return x + (t1 - times[0]) * v


def _midpoint(velocity: Velocity, x: Tensor, times: Times, t1: Tensor, v: Tensor, past: list[_Known]) -> Tensor:
    t0, middle = times
    dt = t1 - t0
    return x + dt * velocity(middle, x + v * (0.5 * dt))


def _heun2(velocity: Velocity, x: Tensor, times: Times, t1: Tensor, v: Tensor, past: list[_Known]) -> Tensor:
    dt = t1 - times[0]
    v2 = velocity(t1, x + dt * v)
    return x + dt * 0.5 * (v + v2)


def _heun3(velocity: Velocity, x: Tensor, times: Times, t1: Tensor, v: Tensor, past: list[_Known]) -> Tensor:
    ta, tb, tc = times
    dt = t1 - ta
    v2 = velocity(tb, x + dt * v * (1 / 3))
    v3 = velocity(tc, x + dt * v2 * (2 / 3))
    return x + (v + 3 * v3) * dt * 0.25


def _rk4(velocity: Velocity, x: Tensor, times: Times, t1: Tensor, v: Tensor, past: list[_Known]) -> Tensor:
    ta, tb, tc, td = times
    dt = t1 - ta
    v2 = velocity(tb, x + dt * v * (1 / 3))
    v3 = velocity(tc, x + dt * (v2 - v * (1 / 3)))
    v4 = velocity(td, x + dt * (v - v2 + v3))
    return x + (v + 3 * (v2 + v3) + v4) * dt * 0.125


def _adams(velocity: Velocity, x: Tensor, times: Times, t1: Tensor, v: Tensor, past: list[_Known]) -> Tensor:
    """Adams-Bashforth: the integral of the polynomial through the last velocities, by divided differences."""
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


def _dpmpp_2m(velocity: Velocity, x: Tensor, times: Times, t1: Tensor, v: Tensor, past: list[_Known]) -> Tensor:
    """DPM-Solver++ 2M (arXiv 2211.01095, algorithm 2) for x_t = t data + (1 - t) noise.

    Its first order equals an Euler step. The second order adds a line through the last two estimates of the data over
    half the log of the signal-to-noise ratio, log(t / (1 - t)). That is infinite at t = 0, whose estimate then has no
    weight, and at t = 1, so the last step is an Euler step.
    """
    (t0,) = times
    following = x + (t1 - t0) * v
    if not past or not all(0 < t < 1 for t in (past[0].t, t0, t1)):
        return following
    before, now, after = (math.log(t / (1 - t)) for t in (past[0].t, float(t0), float(t1)))
    slope = (_data(t0, x, v) - past[0].value) * ((after - now) / (2 * (now - before)))
    return following + (t1 - t0) / (1 - t0) * slope


def _velocity(t: Tensor, x: Tensor, v: Tensor) -> Tensor:
    return v


def _data(t: Tensor, x: Tensor, v: Tensor) -> Tensor:
    return x + (1 - t) * v


# Solvers by name.
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


def solvers_by_evaluations() -> dict[int, list[str]]:
    """Names in ``SOLVERS`` by their evaluations per step, fewest first."""
    counts = sorted({solver.evaluations for solver in SOLVERS.values()})
    return {count: [name for name, solver in SOLVERS.items() if solver.evaluations == count] for count in counts}
