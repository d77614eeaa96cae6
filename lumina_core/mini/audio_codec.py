"""Trains the mini audio model's codec: a small AutoencoderKL on the sounds of the mini world.

Its vocoder has no weights, see ``audio/griffin_lim.py``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..audio.codec_loader import CONFIG, GRIFFIN_LIM, VAE, VOCODER, load_audio_codec
from ..audio.mel import log_mel
from ..runtime.atomic import atomic_write
from ..shapes.audio_rates import MEL_HOP, SAMPLE_RATE
from .audio_world import SECONDS, random_audio_scene, synthesize
from .optimize import optimize

FIGURES = "trained.json"  # errors on held-out scenes; written last
_WARMUP = 50  # steps
_MIN_VOLUME = 0.2


@dataclass(frozen=True, kw_only=True)
class AudioCodecRecipe:
    """Sizes and training of the autoencoder.

    Args:
        out: folder to write: vae/, vocoder/ and trained.json.
        latent_channels: latent channels.
        widths: diffusers' ``block_out_channels``.
        layers: diffusers' ``layers_per_block``.
        groups: diffusers' ``norm_num_groups``.
        steps: training steps with AdamW, with a linear decay over the second half.
        batch: samples per step.
        frames: mel frames per sample, cut from a scene's audio at a random volume.
        learning_rate: highest learning rate.
        prior: weight of the KL divergence from unit Gaussians, which makes nearby latents sound alike.
        measured: number of scenes for the scaling factor and for the error.
        seed: random seed.
    """

    out: Path
    latent_channels: int = 4
    widths: tuple[int, int, int] = (16, 32, 48)
    layers: int = 1
    groups: int = 8
    steps: int = 900
    batch: int = 8
    frames: int = 128
    learning_rate: float = 2e-3
    prior: float = 0.02
    measured: int = 48
    seed: int = 0


def train_audio_codec(
    recipe: AudioCodecRecipe, report: Callable[[int, float], None] = lambda step, loss: None
) -> dict[str, float]:
    """Train and write the codec.

    Args:
        recipe: sizes and training.
        report: called with step and loss after each step.

    Returns:
        Mean absolute error of log-mel values in nepers on held-out scenes: ``held_out_error`` of the autoencoder alone,
        ``heard_error`` with the vocoder.
    """
    torch.manual_seed(recipe.seed)
    vae = _network(recipe)
    rng = random.Random(recipe.seed)

    def rate(step: int) -> float:
        return min((step + 1) / min(_WARMUP, recipe.steps / 10), 2 * (recipe.steps - step) / recipe.steps, 1.0)

    def loss() -> torch.Tensor:
        return _loss(vae, _spectrograms(recipe, rng), recipe.prior)

    optimize(vae.parameters(), loss, recipe.steps, recipe.learning_rate, rate, report)
    vae.eval().requires_grad_(False)
    _write(vae, recipe)
    return _measured(recipe)


def _network(recipe: AudioCodecRecipe) -> Any:
    from diffusers import AutoencoderKL

    # diffusers declares these tuples with one entry.
    build: Any = AutoencoderKL
    return build(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=recipe.widths,
        layers_per_block=recipe.layers,
        latent_channels=recipe.latent_channels,
        norm_num_groups=recipe.groups,
    )


def _loss(vae: Any, mel: torch.Tensor, prior: float) -> torch.Tensor:
    """Mean absolute error of spectrograms (B, 1, frames, 64), plus the weighted KL divergence per latent element."""
    posterior = vae.encode(mel).latent_dist
    error = (vae.decode(posterior.sample()).sample - mel).abs().mean()
    return error + prior * posterior.kl().mean() / posterior.mean[0].numel()


def _spectrograms(recipe: AudioCodecRecipe, rng: random.Random) -> torch.Tensor:
    """A batch (batch, 1, frames, 64) of log-mel spectrograms of training combinations."""
    samples = recipe.frames * MEL_HOP
    parts = []
    for _ in range(recipe.batch):
        first = rng.randrange(round(SECONDS * SAMPLE_RATE) - samples + 1)
        waveform = synthesize(random_audio_scene(rng))[first : first + samples]
        parts.append(waveform * rng.uniform(_MIN_VOLUME, 1.0))
    return log_mel(torch.stack(parts))


def _audio(count: int, seed: str, held_out: bool) -> torch.Tensor:
    """Waveforms (count, 64000) of random scenes."""
    rng = random.Random(seed)
    return torch.stack([synthesize(random_audio_scene(rng, held_out=held_out)) for _ in range(count)])


def _write(vae: Any, recipe: AudioCodecRecipe) -> None:
    """Write both folders, with the scaling factor that gives latents of training scenes unit standard deviation."""
    out = recipe.out
    waveforms = _audio(recipe.measured, f"{recipe.seed}/spread", held_out=False)
    deviation = float(vae.encode(log_mel(waveforms)).latent_dist.mean.std())
    vae.register_to_config(scaling_factor=round(1 / deviation, 6))
    vae.save_pretrained(out / VAE)
    (out / VOCODER).mkdir(parents=True, exist_ok=True)
    text = json.dumps({"_class_name": GRIFFIN_LIM, "iterations": 32}, indent=2) + "\n"
    with atomic_write(out / VOCODER / CONFIG) as part:
        part.write_text(text, encoding="utf-8")


def _measured(recipe: AudioCodecRecipe) -> dict[str, float]:
    codec = load_audio_codec(recipe.out)
    waveforms = _audio(recipe.measured, f"{recipe.seed}/held", held_out=True)
    latents, reference = codec.encode(waveforms), log_mel(waveforms)
    heard = log_mel(codec.to_waveform(latents, waveforms.shape[1]))
    figures = {
        "held_out_error": float((codec.decode(latents) - reference).abs().mean()),
        "heard_error": float((heard - reference).abs().mean()),
    }
    with atomic_write(recipe.out / FIGURES) as part:
        part.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures
