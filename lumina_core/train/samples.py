"""Clips sampled from fixed prompts during training, with the building blocks of the video pipeline."""

from __future__ import annotations

import logging
from pathlib import Path

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
    """Sample a clip for each prompt. All processes must call it, because they share the network.

    Args:
        network: in eval mode, full or sharded.
        encoder: of the prompts.
        settings: prompts, size, plan and seed.
        device: of the network.

    Returns:
        Latents (1, C, F, H, W), one per prompt.
    """
    shape = settings.size.latent().shape(network.config.channels)
    noise = draw_noise(shape, [settings.seed], None, device, torch.float32)
    plan = settings.sampling_plan()
    prompts = encode_prompts(encoder, settings.prompts, [""] * len(settings.prompts), logger.warning)
    observer = ProgressObserver()
    # The text cache would project the text outside of the blocks, but FSDP gathers the weights of a block only during
    # its own forward pass.
    return [
        sample_clips(
            network, noise, prompts.batch(slice(i, i + 1)), plan, 0, plan.steps, None, observer, observer.step,
            text_cache=False,
        ).latents
        for i in range(len(prompts))
    ]  # fmt: skip


def write_samples(run: Path, settings: Samples, vae: VideoVAE, step: int, latents: list[torch.Tensor]) -> list[Path]:
    """Decode and write the clips of a step as .mp4, or as .png if they have one frame.

    Args:
        run: folder of the run.
        settings: prompts, number of frames and fps.
        vae: decoder.
        step: for the file names.
        latents: (1, C, F, H, W) per prompt.

    Returns:
        The paths.

    Raises:
        LuminaError: a file cannot be written.
    """
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, (prompt, clip) in enumerate(zip(settings.prompts, latents, strict=True), 1):
        still = settings.frames == 1
        file = folder / f"step-{step:07d}-{number}{'.png' if still else '.mp4'}"
        if still:
            write_image(file, vae.decode(clip.cpu()), {"prompt": prompt})
        else:
            write_video(file, vae.decode_stream(clip.cpu()), settings.fps, {"prompt": prompt})
        files.append(file)
    return files
