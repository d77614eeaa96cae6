"""From noise to latents: the plan's grid, solver, schedules and guidance around the network.

Like the official sampler: the state is float32, every network call sees x and t in the run's dtype, guidance is
float32 and its result is rounded to the run's dtype before the update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..errors import LuminaError
from .denoiser import Denoiser, Text
from .frame_conditioning import ConditionedVelocity, FrameCondition
from .loop import check_velocity, integrate
from .plan import SamplingPlan
from .solvers import SOLVERS, SolverRun
from .step_cache import CachedVelocity
from .step_update import StepUpdate


@torch.no_grad()
def sample(
    model: Callable[..., torch.Tensor],
    noise: torch.Tensor,
    plan: SamplingPlan,
    positive: Text,
    negative: Text,
    on_step: Callable[[StepUpdate], bool | None] | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
    condition: FrameCondition | None = None,
) -> torch.Tensor:
    """Run ``plan`` and return latents like ``noise``.

    Args:
        model: ``MultiScaleNextDiT`` or anything called alike; ``options`` are passed where the plan has any.
        noise: state at the first step, (B, C, F, H, W); its dtype is the run's dtype.
        plan: schedules, clock and solver.
        positive, negative: text features and masks of the prompt and the negative prompt.
        on_step: called after each step; returning False cancels.
        start, stop: run only these steps of the grid (as in ``range``), to draft now and refine later.
        condition: latent frames that are known, such as those of a given image, and how long each is held.

    Raises:
        LuminaError: sizes, patch sizes or text that do not fit, before the first step; NaN or a constant frame after
            it; out of memory with a single item of the batch at a time.
        SamplingCancelled: ``on_step`` returned False.
    """
    _check_run(model, noise, plan, (positive, negative), start, stop)
    if condition is not None:
        condition.check(noise)
    grid = plan.grid().to(noise.device)
    last = plan.steps if stop is None else stop
    velocity = CachedVelocity(Denoiser(model, plan, noise, positive, negative), plan, noise.dtype, grid[last - 1])
    if condition is not None:
        velocity = ConditionedVelocity(velocity, condition)
    solver = SolverRun(SOLVERS[plan.solver], lambda t: plan.at(float(t.to(noise.dtype))).segment)

    def update(step: int, t0: torch.Tensor, latents: torch.Tensor, denoised: torch.Tensor) -> StepUpdate:
        evaluation = plan.at(float(t0.to(noise.dtype)), step)
        return StepUpdate(step, plan.steps, evaluation.t, latents, denoised, velocity.reused, evaluation)

    return integrate(velocity, solver, noise, grid, range(start, last), check_velocity, update, on_step)


def _check_run(
    model: Callable[..., torch.Tensor],
    noise: torch.Tensor,
    plan: SamplingPlan,
    texts: Sequence[Text],
    start: int,
    stop: int | None,
) -> None:
    if noise.ndim != 5:
        raise LuminaError(f"noise has {noise.ndim} axes; expected 5: batch, channels, frames, height, width.")
    check = getattr(model, "check_run", None)
    if check is not None:
        check(noise, plan.patches, texts)
    for name, (features, mask) in zip(("positive", "negative"), texts, strict=True):
        if features.ndim != 3 or features.shape[0] not in (1, noise.shape[0]):
            raise LuminaError(
                f"The {name} text has shape {tuple(features.shape)}; expected (1 or {noise.shape[0]}, tokens, width)."
            )
        if mask is not None and not bool(mask.bool().any(dim=1).all()):
            raise LuminaError(f"The {name} text mask hides every token of an item; leave at least one token visible.")
    last = plan.steps if stop is None else stop
    if not 0 <= start <= last <= plan.steps:
        raise LuminaError(f"start {start} and stop {stop} lie outside the plan's {plan.steps} steps.")
