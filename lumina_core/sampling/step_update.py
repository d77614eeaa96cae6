"""What a sampler reports after each step, for video, image and audio alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .plan import Evaluation


@dataclass(frozen=True)
class StepUpdate:
    """One finished step of a sampling run.

    Args:
        step: index of the step, from 0.
        steps: how many steps the plan has, even if the run covers only some of them.
        t: timestep at which the step started, 0 (noise) to 1 (data).
        latents: the state after the step, float32: (B, C, F, H, W) for video, (B, C, T, F) for audio.
        denoised: the estimate of the data at ``t``, of the shape of ``latents``.
        reused: whether the velocity came from the step cache.
        evaluation: patch size, guidance and motion scores of the step; None for audio, which has no schedules.
    """

    step: int
    steps: int
    t: float
    latents: torch.Tensor
    denoised: torch.Tensor
    reused: bool = False
    evaluation: Evaluation | None = None
