"""What a call of the video pipeline returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class VideoOutput:
    """What a call made of B clips.

    Args:
        frames: (B, F, H, W, 3) float32 in 0..1 on the CPU; a numpy array of that shape for output_type ``np``, a list
            of B lists of PIL images for ``pil``, None for ``latent``. Of a run that stops early, the frames of its
            estimate of the data, which is a draft.
        latents: (B, C, f, h, w) on the CPU, in the dtype of the run: the data, or the state at step ``stop``, which a
            later call takes as ``latents`` with ``start``.
        fps: frames per second.
        nfe: network evaluations of all clips together; each is one or two ``passes``.
        passes: forward passes of all clips together.
        reused: evaluations that the step cache answered in place of the network; not counted in the other two.
        seeds: of each clip.
    """

    frames: Any
    latents: torch.Tensor
    fps: float
    nfe: int
    passes: int
    reused: int
    seeds: tuple[int, ...]


def as_type(frames: torch.Tensor, output_type: str) -> Any:
    """Frames (B, F, H, W, 3) in 0..1 as the caller wants them."""
    if output_type == "pt":
        return frames
    if output_type == "np":
        return frames.numpy()
    from PIL import Image

    clips = frames.mul(255).round().to(torch.uint8).numpy()
    return [[Image.fromarray(frame) for frame in clip] for clip in clips]
