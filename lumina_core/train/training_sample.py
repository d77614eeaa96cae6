"""One training sample: cropped latents, noise, timestep, and the conditions after dropout."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..sampling.denoiser import NO_MOTION
from .objective import draw_timestep
from .recipe import ConditionDropout, Source, Task
from .rng import bernoulli
from .shards import IMAGE, Entry


@dataclass(frozen=True)
class TrainSample:
    """One training sample.

    Args:
        data, noise: latents (C, F, H, W).
        t: timestep, a scalar in 0..1.
        text: system prompt and caption; the system prompt alone if the caption is dropped.
        motion: motion score; negative if it is dropped or unknown.
    """

    data: torch.Tensor
    noise: torch.Tensor
    t: torch.Tensor
    text: str
    motion: float


def make_sample(
    entry: Entry,
    latents: torch.Tensor,
    shape: tuple[int, int, int],
    source: Source,
    task: Task,
    drop: ConditionDropout,
    generator: torch.Generator,
) -> TrainSample:
    """Make a training sample of one item.

    Args:
        entry: its caption and motion score.
        latents: (C, F, H, W).
        shape: frames, height and width to crop to.
        source: its system prompt.
        task: distribution and shift of t.
        drop: dropout rates.
        generator: source of all randomness.
    """
    data = crop_latents(latents, shape, generator)
    return TrainSample(
        data=data,
        noise=torch.randn(data.shape, generator=generator),
        t=draw_timestep(task.times, task.time_shift, generator),
        text=source.system_prompt + ("" if bernoulli(drop.prompt, generator) else entry.caption),
        motion=motion_condition(entry, drop, generator),
    )


def motion_condition(entry: Entry, drop: ConditionDropout, generator: torch.Generator) -> float:
    """Motion score of a sample after dropout, ``NO_MOTION`` if dropped or unknown. That of an image is 0."""
    if entry.kind == IMAGE:
        return NO_MOTION if bernoulli(drop.image_motion, generator) else 0.0
    dropped = bernoulli(drop.motion, generator)
    return NO_MOTION if dropped or entry.motion is None else entry.motion


def crop_latents(latents: torch.Tensor, shape: tuple[int, int, int], generator: torch.Generator) -> torch.Tensor:
    """Crop latents (C, F, H, W) to (frames, height, width): at a random first frame, about the center of the image."""
    _, frames, height, width = latents.shape
    first = int(torch.randint(0, frames - shape[0] + 1, (), generator=generator))
    top, left = (height - shape[1]) // 2, (width - shape[2]) // 2
    return latents[:, first : first + shape[0], top : top + shape[1], left : left + shape[2]]
