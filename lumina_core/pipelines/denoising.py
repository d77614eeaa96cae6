"""Sampling of clips for pipelines, with the number of evaluations and forward passes of each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ..cost.flops import step_costs
from ..sampling.frame_conditioning import FrameCondition
from ..sampling.plan import Evaluation, SamplingPlan
from ..sampling.step_update import StepUpdate
from ..sampling.text import Text
from ..sampling.velocity_model import VelocityModel
from ..sampling.video import sample
from ..shapes.latents import LatentSize
from .base import ProgressObserver


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
