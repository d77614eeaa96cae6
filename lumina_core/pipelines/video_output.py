"""The result of a call of the video pipeline, and the types of frames and images that pipelines return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

# Values of ``output_type`` of the video and image pipelines.
OUTPUT_TYPES = ("pt", "np", "pil", "latent")


@dataclass(frozen=True)
class VideoOutput:
    """The result of a call that made B clips.

    Args:
        frames: (B, F, H, W, 3), float32 in 0..1 on the CPU; a numpy array of that shape for output_type ``np``, a list
            of B lists of PIL images for ``pil``, None for ``latent``. If the run stops early, these are the frames of
            its last estimate of the data, a draft.
        latents: (B, C, f, h, w) on the CPU, in the dtype of the run: the data, or the state at step ``stop``, which a
            later call takes as ``latents`` together with ``start``.
        fps: frames per second.
        nfe: evaluations for all clips together, each of one or two forward passes.
        passes: forward passes for all clips together.
        reused: evaluations that the step cache answered; not counted in ``nfe`` and ``passes``.
        seeds: one for each clip; unused if a generator or latents were given.
    """

    frames: Any
    latents: torch.Tensor
    fps: float
    nfe: int
    passes: int
    reused: int
    seeds: tuple[int, ...]


def as_type(frames: torch.Tensor, output_type: str) -> Any:
    """Clips (B, F, H, W, 3) or images (B, H, W, 3) in 0..1 as a tensor (``pt``), an array (``np``) or lists (``pil``).

    ``pil`` gives a list of lists of PIL images for clips, and a list of PIL images for images.
    """
    if output_type == "pt":
        return frames
    if output_type == "np":
        return frames.numpy()
    return _as_pil(frames.mul(255).round().to(torch.uint8))


def _as_pil(frames: torch.Tensor) -> Any:
    from PIL import Image

    return Image.fromarray(frames.numpy()) if frames.ndim == 3 else [_as_pil(part) for part in frames]
