"""The sampling loop of video, image and audio: integration along a time grid, with progress reports and cancellation.

The state is float32 whatever the dtype of the run, as in the official sampler.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..errors import LuminaError
from .solvers import SolverRun, Velocity
from .step_update import StepUpdate


class SamplingCancelled(Exception):
    """A run was cancelled, because ``on_step`` or a callback returned False."""


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
    """Integrate the velocity over some steps of a time grid.

    Args:
        velocity: ``velocity(t, x)``; see ``solvers.Velocity``.
        solver: made for this run.
        noise: the state at the first step, (B, ...), in the dtype of the run.
        grid: timesteps, float32; step i leads from ``grid[i]`` to ``grid[i + 1]``.
        steps: indices of the steps that run.
        check: is given the first velocity, and raises LuminaError where it is unusable.
        update: ``update(step, t0, latents, denoised)`` makes the ``StepUpdate`` of a step.
        on_step: is called with each ``StepUpdate``; returning False cancels.

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
    """Raise LuminaError if a velocity would lead to noise or to a constant image.

    Args:
        velocity: (B, C, F, ...); no sample may have an index of axis F at which every channel is constant.
        part: what an index of axis F is, for the message.
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
            f"The first step gave a constant {part}, so the checkpoint is untrained or damaged; download it again.",
            field="checkpoint",
            kind="numerics",
        )
