"""Clips of fixed prompts while training goes on, by the very sampler that makes clips afterwards."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from ..media.writer import write_image, write_video
from ..network.video import MultiScaleNextDiT
from ..sampling.denoiser import Text
from ..sampling.noise import seeded_noise
from ..sampling.video import sample
from ..text.gemma import TextEncoder
from ..vae.codec import VideoVAE
from .recipe import Samples

FOLDER = "samples"


def draw_samples(
    network: MultiScaleNextDiT, encoder: TextEncoder, settings: Samples, device: torch.device
) -> list[torch.Tensor]:
    """Latents (1, C, F, H, W) of every prompt. All processes must run it, since they share the network."""
    shape = settings.size.latent().shape(network.config.channels)
    noise = seeded_noise((1, *shape), settings.seed, device, torch.float32)
    negative = _text(encoder, "")
    # As a mere callable, which keeps nothing from step to step: weights that are split over processes are whole within
    # a block's own call alone.
    call = partial(network)
    return [
        sample(call, noise, settings.sampling_plan(), _text(encoder, prompt), negative)
        for prompt in settings.prompts
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


def _text(encoder: TextEncoder, prompt: str) -> Text:
    encoded = encoder.encode([prompt])
    return encoded.features, encoded.mask
