"""Sampling of clips and images for pipelines, with the number of evaluations and forward passes of each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..cost.flops import step_costs
from ..errors import LuminaError
from ..sampling.frame_conditioning import FrameCondition
from ..sampling.plan import Evaluation, SamplingPlan
from ..sampling.step_cache import summary
from ..sampling.step_update import StepUpdate
from ..sampling.text import Text
from ..sampling.velocity_model import VelocityModel
from ..sampling.video import sample
from ..shapes.latents import LatentSize
from .base import ProgressObserver
from .prompts import EncodedPrompts

# ``f(pipe, step, t, tensors)`` after each step, as in diffusers; returning False cancels.
StepEnd = Callable[[Any, int, float, dict[str, torch.Tensor]], object]


@dataclass(frozen=True)
class Denoised:
    """What ``LuminaVideoPipeline.denoise`` returns.

    Args:
        latents: the state after the last step, (B, C, f, h, w) on the CPU.
        estimate: the last estimate of the data, of the same shape; equal to ``latents`` after a whole run.
        nfe, passes, reused: see ``VideoOutput``.
    """

    latents: torch.Tensor
    estimate: torch.Tensor
    nfe: int
    passes: int
    reused: int


def sampling_stage(clips: slice, count: int, kind: str = "clip") -> str:
    """The stage of sampling some of ``count`` results, such as ``sampling clip 2 of 4``."""
    if count == 1:
        return "sampling"
    last = min(clips.stop, count)
    shown = f"{kind} {last}" if last == clips.start + 1 else f"{kind}s {clips.start + 1} to {last}"
    return f"sampling {shown} of {count}"


def condition_of(condition: FrameCondition, clips: slice) -> FrameCondition:
    """The condition of some clips of a batch; one with a batch size of 1 is for all clips."""
    return condition if len(condition.latents) == 1 else replace(condition, latents=condition.latents[clips])


def check_steps(plan: SamplingPlan, start: int, stop: int | None, latents: object) -> int:
    """The step at which a run of the steps from ``start`` to ``stop`` ends, as in ``range``.

    Args:
        plan: of the run.
        start, stop: the steps that run; ``stop`` None is all of the plan.
        latents: the state at step ``start``; None if the run starts from noise.

    Raises:
        LuminaError: a step is out of range, or ``start`` is not 0 and there is no state.
    """
    if start and latents is None:
        raise LuminaError(
            f"start is {start}, which continues from an earlier state; give that state as latents.",
            field="latents",
            kind="value",
        )
    last = plan.steps if stop is None else stop
    if not 0 <= start < last <= plan.steps:
        raise LuminaError(
            f"start is {start} and stop is {last}; choose steps from 0 to the plan's {plan.steps}, start before stop.",
            field="start",
            kind="value",
        )
    return last


def after_step(pipe: Any, observer: ProgressObserver, step_end: StepEnd | None) -> Callable[[StepUpdate], bool | None]:
    """What runs after each step: the observer, then ``step_end`` as in diffusers. Returns False to cancel."""

    def step_done(update: StepUpdate) -> bool | None:
        proceed = observer.step(update)
        if step_end is not None and proceed is not False:
            proceed = step_end(pipe, update.step, update.t, {"latents": update.latents, "denoised": update.denoised})
        return False if proceed is False else None

    return step_done


def sample_batches(
    model: VelocityModel,
    latents: torch.Tensor,
    prompts: EncodedPrompts,
    plan: SamplingPlan,
    observer: ProgressObserver,
    step_done: Callable[[StepUpdate], bool | None],
    *,
    steps: range,
    batch_size: int = 1,
    condition: FrameCondition | None = None,
    kind: str = "clip",
) -> Denoised:
    """Sample clips or images in batches, and report progress and what the step cache saved.

    Args:
        model: the network.
        latents: state of all clips at the first step, (B, C, f, h, w).
        prompts: of B clips.
        plan: of the run.
        observer, step_done: see ``sample_clips``.
        steps: the steps that run.
        batch_size: clips that are sampled together.
        condition: known latent frames of every clip.
        kind: what is sampled, for the stages of progress.

    Raises:
        LuminaError: see ``sampling.video.sample``.
        SamplingCancelled: ``step_done`` returned False.
    """
    runs = []
    for first in range(0, len(latents), batch_size):
        clips = slice(first, first + batch_size)
        observer.stage(sampling_stage(clips, len(latents), kind))
        known = None if condition is None else condition_of(condition, clips)
        texts = prompts.batch(clips)
        runs.append(
            sample_clips(model, latents[clips], texts, plan, steps.start, steps.stop, known, observer, step_done)
        )
    found = join_runs(runs)
    if plan.cache:
        observer.note(summary(found.reused, len(steps) * len(latents)))
    return found


def sample_clips(
    model: VelocityModel,
    noise: torch.Tensor,
    texts: tuple[Text, Text],
    plan: SamplingPlan,
    start: int,
    stop: int,
    condition: FrameCondition | None,
    observer: ProgressObserver,
    step_done: Callable[[StepUpdate], bool | None],
    text_cache: bool = True,
) -> Denoised:
    """Sample clips as one batch, and count what they cost.

    Args:
        model: the network.
        noise: state of the clips at step ``start``, (B, C, f, h, w).
        texts: prompts and negative prompts of the clips.
        plan, start, stop, condition, text_cache: see ``sampling.video.sample``.
        observer: its ``sampling`` and ``close`` are called.
        step_done: called after each step; returning False cancels.

    Raises:
        LuminaError: see ``sampling.video.sample``.
        SamplingCancelled: ``step_done`` returned False.
    """
    costs = step_costs(plan, LatentSize(*noise.shape[2:]), model.config, noise.dtype)
    observer.sampling([cost if start <= step < stop else 0 for step, cost in enumerate(costs)])
    reused: list[Evaluation] = []
    estimate = noise

    def on_step(update: StepUpdate) -> bool | None:
        nonlocal estimate
        estimate = update.denoised
        if update.reused and update.evaluation is not None:
            reused.append(update.evaluation)
        return step_done(update)

    try:
        latents = sample(
            model, noise, plan, *texts, on_step,
            start=start, stop=stop, condition=condition, text_cache=text_cache,
        )  # fmt: skip
    finally:
        observer.close()
    evaluations = [e for e in plan.evaluations(noise.dtype) if start <= e.step < stop]
    finished = stop == plan.steps
    return Denoised(
        latents=latents.cpu(),
        estimate=(latents if finished else estimate.to(noise.dtype)).cpu(),
        nfe=(len(evaluations) - len(reused)) * len(noise),
        passes=(sum(e.passes for e in evaluations) - sum(e.passes for e in reused)) * len(noise),
        reused=len(reused) * len(noise),
    )


def join_runs(runs: Sequence[Denoised]) -> Denoised:
    """Several runs as one batch, with their counts added."""
    return Denoised(
        latents=torch.cat([run.latents for run in runs]),
        estimate=torch.cat([run.estimate for run in runs]),
        nfe=sum(run.nfe for run in runs),
        passes=sum(run.passes for run in runs),
        reused=sum(run.reused for run in runs),
    )
