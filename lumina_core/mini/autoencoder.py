"""Trains the mini bundle's video autoencoder on drawn clips."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..runtime.atomic import atomic_write
from ..shapes.latents import VAE_FRAMES
from ..vae.compact import CompactVAE, CompactVAEConfig
from .draw import draw
from .optimize import cosine_rate, optimize
from .world import FRAMES, random_scene

WEIGHTS = "diffusion_pytorch_model.safetensors"
_STILL_SHARE, _OUTLINE_SHARE = 0.1, 0.1  # shares of still scenes and of outlines
_WARMUP = 50  # steps
_MEASURED_CLIPS = 150  # clips for the latent statistics; half as many for the PSNR


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """Sizes and training of the autoencoder.

    Args:
        out: folder to write: config.json and weights.
        latent_channels, wide, narrow, depth: see ``CompactVAEConfig``.
        steps: training steps with AdamW and a cosine decay.
        batch: samples of four frames per step; even.
        learning_rate: highest learning rate.
        seed: random seed.
        absolute: weight of the absolute error relative to the squared error, both of values in -1..1.
        prior: weight of the KL divergence from unit Gaussians, which makes nearby latents decode alike.
    """

    out: Path
    latent_channels: int = 6
    wide: int = 128
    narrow: int = 64
    depth: int = 2
    steps: int = 3800
    batch: int = 16
    learning_rate: float = 2e-3
    seed: int = 0
    absolute: float = 0.1
    prior: float = 3e-4


def train_autoencoder(
    recipe: AutoencoderRecipe, report: Callable[[int, float], None] = lambda step, loss: None
) -> dict[str, float]:
    """Train and write the autoencoder.

    Args:
        recipe: sizes and training.
        report: called with step and loss after each step.

    Returns:
        ``held_out_psnr``: PSNR in dB on clips of held-out combinations.
    """
    torch.manual_seed(recipe.seed)
    config = CompactVAEConfig(
        latent_channels=recipe.latent_channels, wide=recipe.wide, narrow=recipe.narrow, depth=recipe.depth
    )
    vae = CompactVAE(config)
    to_format: Any = vae.to  # the stubs of this overload expect positional arguments
    to_format(memory_format=torch.channels_last)
    rng = random.Random(recipe.seed)
    optimize(
        vae.parameters(),
        lambda: _loss(vae, _groups(recipe.batch, rng), recipe),
        recipe.steps,
        recipe.learning_rate,
        cosine_rate(recipe.steps, _WARMUP),
        report,
    )
    vae.eval().requires_grad_(False)
    measure_range(vae, _clips(_MEASURED_CLIPS, recipe.seed + 1, held_out=False))
    write_autoencoder(vae, recipe.out)
    return {"held_out_psnr": psnr(vae, _clips(_MEASURED_CLIPS // 2, recipe.seed + 2, held_out=True))}


def measure_range(vae: CompactVAE, clips: Iterator[torch.Tensor]) -> None:
    """Set mean and standard deviation of the latents from clips, so that the latents are normalized."""
    raw = torch.cat([vae.encoder.range.restore(_mean(vae, clip)) for clip in clips])
    for half in (vae.encoder, vae.decoder):
        half.range.mean.copy_(raw.mean(dim=(0, 2, 3, 4)))
        half.range.spread.copy_(raw.std(dim=(0, 2, 3, 4)))


def psnr(vae: CompactVAE, clips: Iterator[torch.Tensor]) -> float:
    """PSNR in dB of clips (1, 3, f, H, W) in -1..1 after encoding and decoding."""
    errors = []
    for clip in clips:
        back = vae.decoder(_mean(vae, clip))[0]
        errors.append((((back - clip).clamp(-2, 2)) / 2).pow(2).mean())
    return float(-10 * torch.stack(errors).mean().log10())


def write_autoencoder(vae: CompactVAE, folder: Path) -> None:
    """Write config.json and the weights in the layout that ``load_video_vae`` reads."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"_class_name": type(vae).__name__, **vae.config.as_dict()}, indent=2) + "\n"
    weights = {key: value.contiguous() for key, value in vae.state_dict().items()}
    with atomic_write(folder / WEIGHTS, unique=False) as part:
        save_file(weights, part, metadata={"format": "pt"})
    # Written last, because a folder with a config counts as complete.
    with atomic_write(folder / "config.json") as part:
        part.write_text(text, encoding="utf-8")


def _loss(vae: CompactVAE, pixels: torch.Tensor, recipe: AutoencoderRecipe) -> torch.Tensor:
    """Loss on samples (B, 3, 4, H, W) in -1..1, with B even."""
    mean, log_variance = vae.encoder(pixels)[0].chunk(2, dim=1)
    log_variance = log_variance.clamp(-12, 4)
    latents = mean + torch.randn_like(mean) * (log_variance / 2).exp()
    # Joined in pairs, because the decoder treats an odd number of latent frames as a clip that starts with one frame.
    error = vae.decoder(_pairs(latents))[0] - _pairs(pixels)
    divergence = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).mean()
    return error.pow(2).mean() + recipe.absolute * error.abs().mean() + recipe.prior * divergence


def _groups(count: int, rng: random.Random) -> torch.Tensor:
    """Samples (count, 3, 4, 64, 64) in -1..1, one latent frame each, of all combinations including held-out ones."""
    parts = []
    for _ in range(count):
        still, held_out = rng.random() < _STILL_SHARE, rng.random() < 0.2
        scene = random_scene(rng, still=still, held_out=held_out, outline_share=_OUTLINE_SHARE)
        first = rng.randrange(FRAMES // VAE_FRAMES) * VAE_FRAMES
        parts.append(draw(scene, FRAMES, range(first, first + VAE_FRAMES)))
    return _pixels(torch.stack(parts))


def _clips(count: int, seed: int, held_out: bool) -> Iterator[torch.Tensor]:
    rng = random.Random(seed)
    for _ in range(count):
        yield _pixels(draw(random_scene(rng, held_out=held_out, outline_share=0.0))[None])


def _pixels(frames: torch.Tensor) -> torch.Tensor:
    """Convert frames (B, f, H, W, 3) in 0..1 to (B, 3, f, H, W) in -1..1."""
    return frames.permute(0, 4, 1, 2, 3) * 2 - 1


def _mean(vae: CompactVAE, pixels: torch.Tensor) -> torch.Tensor:
    return vae.encoder(pixels)[0].chunk(2, dim=1)[0]


def _pairs(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[0::2], x[1::2]], dim=2)
