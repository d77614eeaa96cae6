"""From noise to latents: the plan's grid, solver, schedules and guidance around the network.

Like the official sampler: the state is float32, every network call sees x and t in the run's dtype, guidance is
float32 and its result is rounded to the run's dtype before the update.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from ..network.attention import attention_name, plain_attention
from ..network.forward_options import AS_TRAINED
from ..runtime.devices import release_memory
from ..runtime.oom import PerSampleFallback, oom_message
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize
from .frame_conditioning import ConditionedVelocity, FrameCondition
from .guidance import guide
from .plan import SamplingPlan
from .solvers import SOLVERS, SolverRun
from .step_cache import CachedVelocity
from .step_update import StepUpdate

logger = logging.getLogger(__name__)

NO_MOTION = -1.0
Text = tuple[torch.Tensor, torch.Tensor | None]
"""Features (B or 1, S, D) and bool mask (B or 1, S)."""


class SamplingCancelled(Exception):
    """``on_step`` returned False."""


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
    velocity = _velocity(model, plan, noise, positive, negative, grid[last - 1], condition)
    solver = _solver(plan, noise.dtype)
    x = noise.float()
    for step in range(start, last):
        t0, t1 = grid[step], grid[step + 1]
        following, v = solver.step(velocity, x, t0, t1)
        if step == start and not bool(torch.isfinite(v).all()) and (plain := _on_plain_attention(model, noise)):
            velocity = _velocity(plain, plan, noise, positive, negative, grid[last - 1], condition)
            solver = _solver(plan, noise.dtype)
            following, v = solver.step(velocity, x, t0, t1)
        if step == start:
            check_velocity(v)
        if on_step is not None:
            evaluation, denoised = plan.at(float(t0.to(noise.dtype)), step), x + (1 - t0) * v
            update = StepUpdate(step, plan.steps, evaluation.t, following, denoised, velocity.reused, evaluation)
            if on_step(update) is False:
                raise SamplingCancelled(f"Cancelled after step {step + 1} of {plan.steps}.")
        x = following
    return x.to(noise.dtype)


def _velocity(
    model,
    plan: SamplingPlan,
    noise: torch.Tensor,
    positive: Text,
    negative: Text,
    last: torch.Tensor,
    condition: FrameCondition | None,
):
    velocity = CachedVelocity(_Velocity(model, plan, noise, positive, negative), plan, noise.dtype, last)
    return velocity if condition is None else ConditionedVelocity(velocity, condition)


def _solver(plan: SamplingPlan, dtype: torch.dtype) -> SolverRun:
    return SolverRun(SOLVERS[plan.solver], lambda t: plan.at(float(t.to(dtype))).segment)


def _on_plain_attention(model, noise: torch.Tensor):
    """For a first step that gave NaN: the network on an attention that no kernel can spoil; None for other models."""
    if not hasattr(model, "on_attention"):
        return None
    used = attention_name(model.ops.attention, noise.device, noise.dtype, model.config.block.head_dim)
    logger.warning("The first step gave NaN or infinite values with %s; trying plain attention, which is slow.", used)
    return model.on_attention(plain_attention)


class _Velocity:
    """The guided velocity that a solver integrates."""

    def __init__(self, model, plan: SamplingPlan, noise: torch.Tensor, positive: Text, negative: Text):
        self.model, self.plan, self.dtype = model, plan, noise.dtype
        guided = any(scale and scale > 0 for scale in plan.guidance.values)
        features, mask = _stack_texts([positive, negative] if guided else [positive], noise.shape[0])
        features, mask = features.to(noise.device, noise.dtype), mask.to(noise.device)
        # Both prompts at once, so that the steps without guidance take their part of what is kept.
        make = getattr(model, "run_context", None)
        self.texts = (features, mask) if make is None else (make(features, mask), None)
        self.fallback = PerSampleFallback(partial(release_memory, noise.device))
        self.options = {} if plan.network == AS_TRAINED else {"options": plan.network}

    def __call__(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        t = t.to(self.dtype)
        asked = self.plan.at(float(t))
        batch = x.shape[0]
        scores = [asked.motion, asked.negative_motion][: asked.passes]
        count = batch * len(scores)
        motion = torch.tensor([NO_MOTION if s is None else s for s in scores], device=x.device, dtype=self.dtype)
        text, mask = (None if rows is None else rows[slice(0, count)] for rows in self.texts)
        rows = (
            x.to(self.dtype).repeat(len(scores), 1, 1, 1, 1),
            t.expand(count),
            text,
            mask,
            motion.repeat_interleave(batch),
        )
        parts = self.fallback(
            lambda items: self.model(
                *(None if row is None else row[items] for row in rows), asked.patch, **self.options
            ),
            count,
            lambda: self._does_not_fit(x, asked.patch),
        ).split(batch)
        negatives = [(asked.guidance, part) for part in parts[1:]]
        channels = getattr(getattr(self.model, "config", None), "guided_channels", None)
        return guide(parts[0], negatives, self.plan.renorm, channels).to(self.dtype).float()

    def _does_not_fit(self, x: torch.Tensor, patch: PatchSize) -> str:
        patches = self.model.config.patches if hasattr(self.model, "config") else self.plan.patches
        return oom_message(LatentSize(*x.shape[2:]), patch, patches)


def check_velocity(velocity: torch.Tensor) -> None:
    """Raise LuminaError on NaN, infinity or a frame that is one constant, which would end as a black clip."""
    if not bool(torch.isfinite(velocity).all()):
        raise LuminaError(
            "The first step gave NaN or infinite values; try another dtype (bf16 or fp32 in place of fp16), "
            "another attention backend, or a fresh copy of the checkpoint."
        )
    flat = velocity.flatten(3)
    if bool((flat.amax(-1) == flat.amin(-1)).all(dim=1).any()):
        raise LuminaError(
            "The first step gave a frame of one constant value; the checkpoint is untrained or damaged, "
            "so use a fresh copy of it."
        )


def _stack_texts(texts: list[Text], batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All texts as one batch, padded on the right to the longest and masked."""
    longest = max(features.shape[1] for features, _ in texts)
    rows, masks = [], []
    for features, mask in texts:
        mask = _full_mask(features) if mask is None else mask.bool()
        room = longest - features.shape[1]
        rows.append(F.pad(features, (0, 0, 0, room)).expand(batch, -1, -1))
        masks.append(F.pad(mask, (0, room)).expand(batch, -1))
    return torch.cat(rows), torch.cat(masks)


def _full_mask(features: torch.Tensor) -> torch.Tensor:
    return torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)


def _check_run(model, noise, plan, texts, start, stop) -> None:
    if noise.ndim != 5:
        raise LuminaError(f"noise has {noise.ndim} axes; expected 5: batch, channels, frames, height, width.")
    if hasattr(model, "check_run"):
        model.check_run(noise, plan.patches, texts)
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
