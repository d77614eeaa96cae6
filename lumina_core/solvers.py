"""Fixed-step ODE solvers for dx/dt = velocity(t, x), under one interface.

The names and formulas are torchdiffeq's, which the official sampler calls: ``rk4`` is the 3/8 rule, and ``heun2`` and
``rk4`` also evaluate the end of the step, so t = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``velocity(t, x)``: t a float32 scalar tensor, x the state; returns a tensor like x."""


@dataclass(frozen=True)
class Solver:
    """``stage_times(t0, t1)`` lists where one step evaluates; ``step(velocity, x, t0, t1)`` returns the new state and
    the velocity at t0."""

    stage_times: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]
    step: Callable[[Velocity, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def _euler_times(t0, t1):
    return (t0,)


def _euler(velocity, x, t0, t1):
    v = velocity(t0, x)
    return x + (t1 - t0) * v, v


def _midpoint_times(t0, t1):
    return t0, t0 + 0.5 * (t1 - t0)


def _midpoint(velocity, x, t0, t1):
    dt = t1 - t0
    start, middle = _midpoint_times(t0, t1)
    v1 = velocity(start, x)
    v2 = velocity(middle, x + v1 * (0.5 * dt))
    return x + dt * v2, v1


def _heun2_times(t0, t1):
    return t0, t1


def _heun2(velocity, x, t0, t1):
    dt = t1 - t0
    v1 = velocity(t0, x)
    v2 = velocity(t1, x + dt * v1)
    return x + dt * 0.5 * (v1 + v2), v1


def _rk4_times(t0, t1):
    dt = t1 - t0
    return t0, t0 + dt * (1 / 3), t0 + dt * (2 / 3), t1


def _rk4(velocity, x, t0, t1):
    dt = t1 - t0
    ta, tb, tc, td = _rk4_times(t0, t1)
    v1 = velocity(ta, x)
    v2 = velocity(tb, x + dt * v1 * (1 / 3))
    v3 = velocity(tc, x + dt * (v2 - v1 * (1 / 3)))
    v4 = velocity(td, x + dt * (v1 - v2 + v3))
    return x + (v1 + 3 * (v2 + v3) + v4) * dt * 0.125, v1


SOLVERS: dict[str, Solver] = {
    "euler": Solver(_euler_times, _euler),
    "midpoint": Solver(_midpoint_times, _midpoint),
    "heun2": Solver(_heun2_times, _heun2),
    "rk4": Solver(_rk4_times, _rk4),
}
