"""Clips of fixed prompts during training, made by the parts of the video pipeline."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..media.writer import write_image, write_video
from ..network.video import MultiScaleNextDiT
from ..pipelines.base import ProgressObserver, draw_noise
from ..pipelines.denoising import sample_clips
from ..pipelines.prompts import encode_prompts
from ..text.gemma import TextEncoder
from ..vae.codec import VideoVAE
from .recipe import Samples

logger = logging.getLogger(__name__)

FOLDER = "samples"


def draw_samples(
    network: MultiScaleNextDiT, encoder: TextEncoder, settings: Samples, device: torch.device
) -> list[torch.Tensor]:
    """Latents (1, C, F, H, W) of every prompt. All processes must run it, since they share the network."""
    shape = settings.size.latent().shape(network.config.channels)
    noise = draw_noise(shape, [settings.seed], None, device, torch.float32)
    plan = settings.sampling_plan()
    prompts = encode_prompts(encoder, settings.prompts, [""] * len(settings.prompts), logger.warning)
    # As a mere callable, which keeps nothing from step to step: weights that are sharded over processes are whole
    # within a block's own call alone.
    call: Any = partial(network)
    call.config = network.config
    observer = ProgressObserver()
    return [
        sample_clips(
            call, noise, prompts.batch(slice(i, i + 1)), plan, 0, plan.steps, None, observer, observer.step
        ).latents
        for i in range(len(prompts))
    ]


def write_samples(run: Path, settings: Samples, vae: VideoVAE, step: int, latents: list[torch.Tensor]) -> list[Path]:
    """Decode and write a step's clips (pictures where there is one frame); returns their paths."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, (prompt, item) in enumerate(zip(settings.prompts, latents, strict=True), 1):
        still = settings.frames == 1
        file = folder / f"step-{step:07d}-{number}{'.png' if still else '.mp4'}"
        if still:
            write_image(file, vae.decode(item.cpu()), {"prompt": prompt})
        else:
            write_video(file, vae.decode_stream(item.cpu()), settings.fps, {"prompt": prompt})
        files.append(file)
    return files
