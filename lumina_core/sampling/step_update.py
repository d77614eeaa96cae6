"""What a sampler reports after each step; the same for video, image and audio."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .plan import Evaluation


@dataclass(frozen=True)
class StepUpdate:
    """One finished step of a sampling run.

    Args:
        step: index of the step, from 0.
        steps: steps of the whole plan, also where a run covers only a part of them.
        t: flow time at which the step began, 0 (noise) to 1 (data).
        latents: the state after the step, float32: (B, C, F, H, W) for video, (B, C, T, F) for audio.
        denoised: the estimate of the data made at ``t``, of the same shape.
        reused: whether the step cache gave the velocity in place of the network.
        evaluation: patch size, guidance and motion scores of the step; None for audio, whose steps are all alike.
    """

    step: int
    steps: int
    t: float
    latents: torch.Tensor
    denoised: torch.Tensor
    reused: bool = False
    evaluation: Evaluation | None = None
