"""One training item: latents cut to size, and the conditions with their drop-outs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..sampling.denoiser import NO_MOTION
from .objective import draw_time
from .recipe import ConditionDropout, Source, Task
from .rng import bernoulli
from .shards import IMAGE, Entry


@dataclass(frozen=True)
class TrainItem:
    """Data and noise (C, F, H, W), time t, the text with its system prompt, and the motion score, negative when
    dropped."""

    data: torch.Tensor
    noise: torch.Tensor
    t: torch.Tensor
    text: str
    motion: float


def make_item(
    entry: Entry,
    latents: torch.Tensor,
    shape: tuple[int, int, int],
    source: Source,
    task: Task,
    drop: ConditionDropout,
    generator: torch.Generator,
) -> TrainItem:
    """Cut, drop and noise one entry; everything random comes from ``generator``."""
    data = cut(latents, shape, generator)
    return TrainItem(
        data=data,
        noise=torch.randn(data.shape, generator=generator),
        t=draw_time(task.times, task.time_shift, generator),
        text=source.system_prompt + ("" if bernoulli(drop.prompt, generator) else entry.caption),
        motion=motion_condition(entry, drop, generator),
    )


def motion_condition(entry: Entry, drop: ConditionDropout, generator: torch.Generator) -> float:
    """The motion score that an item is trained with. An image does not move: it says 0 or nothing."""
    if entry.kind == IMAGE:
        return NO_MOTION if bernoulli(drop.image_motion, generator) else 0.0
    dropped = bernoulli(drop.motion, generator)
    return NO_MOTION if dropped or entry.motion is None else entry.motion


def cut(latents: torch.Tensor, shape: tuple[int, int, int], generator: torch.Generator) -> torch.Tensor:
    """Latents (C, F, H, W) cut to (frames, height, width): a random run of frames, the middle of the picture."""
    _, frames, height, width = latents.shape
    first = int(torch.randint(0, frames - shape[0] + 1, (), generator=generator))
    top, left = (height - shape[1]) // 2, (width - shape[2]) // 2
    return latents[:, first : first + shape[0], top : top + shape[1], left : left + shape[2]]
