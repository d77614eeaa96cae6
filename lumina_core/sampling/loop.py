"""The sampling loop that video, image and audio share: from noise along a time grid, with a check, reports and cancel.

The state is float32 whatever the run's dtype is, like in the official sampler.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..errors import LuminaError
from .solvers import SolverRun, Velocity
from .step_update import StepUpdate


class SamplingCancelled(Exception):
    """``on_step`` returned False."""


def integrate(
    velocity: Velocity,
    solver: SolverRun,
    noise: torch.Tensor,
    grid: torch.Tensor,
    steps: range,
    check: Callable[[torch.Tensor], None],
    update: Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], StepUpdate],
    on_step: Callable[[StepUpdate], bool | None] | None,
) -> torch.Tensor:
    """Run some steps of a time grid.

    Args:
        velocity: of the state at a flow time; see ``solvers.Velocity``.
        solver: of this run alone.
        noise: the state at the first step, (B, ...), in the run's dtype.
        grid: flow times, float32; step i goes from ``grid[i]`` to ``grid[i + 1]``.
        steps: those that run.
        check: raises LuminaError for a first velocity that no network should give.
        update: ``update(step, t0, latents, denoised)`` makes the report of a step.
        on_step: is given the report of each step; returning False cancels.

    Returns:
        The state after the last step, like ``noise``.

    Raises:
        LuminaError: see ``check``.
        SamplingCancelled: ``on_step`` returned False.
    """
    x = noise.float()
    for step in steps:
        t0, t1 = grid[step], grid[step + 1]
        following, v = solver.step(velocity, x, t0, t1)
        if step == steps.start:
            check(v)
        if on_step is not None and on_step(update(step, t0, following, x + (1 - t0) * v)) is False:
            raise SamplingCancelled(f"Cancelled after step {step + 1} of {len(grid) - 1}.")
        x = following
    return x.to(noise.dtype)


def check_velocity(velocity: torch.Tensor, part: str = "frame") -> None:
    """Raise LuminaError on a velocity that would end as noise or as a constant image.

    Args:
        velocity: (B, C, F, ...); a sample may not have a part of axis F that is one constant in every channel.
        part: what axis F counts, for the message.
    """
    if not bool(torch.isfinite(velocity).all()):
        raise LuminaError(
            "The first step gave NaN or infinite values; try another dtype (bf16 or fp32 in place of fp16), "
            "another attention backend, or a fresh copy of the checkpoint.",
            field="dtype",
            kind="numerics",
        )
    flat = velocity.flatten(3)
    if bool((flat.amax(-1) == flat.amin(-1)).all(dim=1).any()):
        raise LuminaError(
            f"The first step gave a {part} of one constant value; the checkpoint is untrained or damaged, "
            "so use a fresh copy of it.",
            field="checkpoint",
            kind="numerics",
        )
