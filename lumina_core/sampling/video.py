"""Sampling of video and image latents: the time grid, solver, schedules and guidance of a plan around the network.

As in the official sampler, the state is float32, each forward pass gets x and t in the dtype of the run, and guidance
is float32 and rounded to the dtype of the run before the update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..errors import LuminaError
from .denoiser import Denoiser
from .frame_conditioning import ConditionedVelocity, FrameCondition
from .loop import check_velocity, integrate
from .plan import SamplingPlan
from .solvers import SOLVERS, SolverRun
from .step_cache import CachedVelocity
from .step_update import StepUpdate
from .text import Text
from .velocity_model import VelocityModel


@torch.no_grad()
def sample(
    model: VelocityModel,
    noise: torch.Tensor,
    plan: SamplingPlan,
    positive: Text,
    negative: Text,
    on_step: Callable[[StepUpdate], bool | None] | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
    condition: FrameCondition | None = None,
    text_cache: bool = True,
) -> torch.Tensor:
    """Run ``plan`` and return latents like ``noise``.

    Args:
        model: ``MultiScaleNextDiT`` or another network with the methods of ``VelocityModel``.
        noise: state at the first step, (B, C, F, H, W); its dtype is the dtype of the run.
        plan: schedules, time grid and solver.
        positive, negative: text features and masks of the prompt and the negative prompt.
        on_step: called after each step; returning False cancels.
        start, stop: run only these steps of the plan, as in ``range``, to draft now and refine later.
        condition: known latent frames, such as those of a given image, and how long each is held.
        text_cache: whether the keys and values of the texts are computed once for the run. Where weights are sharded
            by block (FSDP) they are available only in the block's own forward pass, so turn it off.

    Returns:
        The state after the last step that runs, like ``noise``.

    Raises:
        LuminaError: sizes, patch sizes or text do not fit (before the first step); the first velocity is not finite or
            is constant.
        OutOfMemory: memory ran out, also with one sample at a time.
        SamplingCancelled: ``on_step`` returned False.
    """
    _check_run(model, noise, plan, (positive, negative), start, stop)
    if condition is not None:
        condition.check(noise)
    grid = plan.grid().to(noise.device)
    last = plan.steps if stop is None else stop
    denoiser = Denoiser(model, plan, noise, positive, negative, text_cache)
    velocity = CachedVelocity(denoiser, plan, noise.dtype, grid[last - 1])
    if condition is not None:
        velocity = ConditionedVelocity(velocity, condition)
    solver = SolverRun(SOLVERS[plan.solver], lambda t: plan.at(float(t.to(noise.dtype))).segment)

    def update(step: int, t0: torch.Tensor, latents: torch.Tensor, denoised: torch.Tensor) -> StepUpdate:
        evaluation = plan.at(float(t0.to(noise.dtype)), step)
        return StepUpdate(step, plan.steps, evaluation.t, latents, denoised, velocity.reused, evaluation)

    return integrate(velocity, solver, noise, grid, range(start, last), check_velocity, update, on_step)


def _check_run(
    model: VelocityModel,
    noise: torch.Tensor,
    plan: SamplingPlan,
    texts: Sequence[Text],
    start: int,
    stop: int | None,
) -> None:
    if noise.ndim != 5:
        raise LuminaError(
            f"noise has {noise.ndim} axes; expected 5: batch, channels, frames, height, width.",
            field="noise",
            kind="value",
        )
    model.check_run(noise, plan.patches, texts)
    for name, (features, mask) in zip(("positive", "negative"), texts, strict=True):
        if features.ndim != 3 or features.shape[0] not in (1, noise.shape[0]):
            raise LuminaError(
                f"The {name} text has shape {tuple(features.shape)}; expected (1 or {noise.shape[0]}, tokens, width).",
                field=name,
                kind="value",
            )
        if mask is not None and not bool(mask.bool().any(dim=1).all()):
            raise LuminaError(
                f"The {name} text mask hides every token of a sample; leave at least one token visible.",
                field=name,
                kind="value",
            )
    last = plan.steps if stop is None else stop
    if not 0 <= start <= last <= plan.steps:
        raise LuminaError(
            f"start is {start} and stop is {stop}; use steps from 0 to {plan.steps}, start not after stop.",
            field="start",
            kind="value",
        )
