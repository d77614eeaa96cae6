"""Training of the mini voice's audio codec: a small AutoencoderKL on the sounds of the small world.

Its vocoder has no weights (see ``audio/griffin_lim.py``).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..audio.codec_loader import CONFIG, GRIFFIN_LIM, VAE, VOCODER, load_audio_codec
from ..audio.mel import HOP, SAMPLE_RATE, log_mel
from .audio_world import SECONDS, random_audio_scene, synthesise

FIGURES = "trained.json"
"""Written last: the error on new scenes."""
_WARMUP = 50
_QUIETEST = 0.2


@dataclass(frozen=True, kw_only=True)
class AudioCodecRecipe:
    """Sizes and training of the autoencoder.

    Args:
        out: folder to write: vae/, vocoder/ and trained.json.
        latent_channels, widths, layers, groups: see diffusers' ``AutoencoderKL``.
        steps, batch, learning_rate, seed: of the training, with AdamW and a linear decay over its last half; an item
            is ``frames`` mel frames of a scene's sound, at a random volume.
        prior: weight of the divergence from unit Gaussians, which makes near latents sound alike.
        measured: scenes that spread and error are measured on.
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
    """Train and write the codec; returns the mean error of log-mel values on scenes of held-out combinations, by the
    autoencoder alone and with the vocoder. ``report(step, loss)`` is called after each step.
    """
    torch.manual_seed(recipe.seed)
    vae = _network(recipe)
    optimizer = torch.optim.AdamW(vae.parameters(), recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    rng = random.Random(recipe.seed)
    for step in range(recipe.steps):
        rate = min((step + 1) / min(_WARMUP, recipe.steps / 10), 2 * (recipe.steps - step) / recipe.steps, 1.0)
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * rate
        loss = _loss(vae, _spectrograms(recipe, rng), recipe.prior)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        report(step, float(loss.detach()))
    vae.eval().requires_grad_(False)
    _write(vae, recipe)
    return _measured(recipe)


def _network(recipe: AudioCodecRecipe) -> nn.Module:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=recipe.widths,
        layers_per_block=recipe.layers,
        latent_channels=recipe.latent_channels,
        norm_num_groups=recipe.groups,
    )


def _loss(vae: nn.Module, mel: torch.Tensor, prior: float) -> torch.Tensor:
    """mel (B, 1, frames, 64): mean absolute error, and the divergence a latent number."""
    found = vae.encode(mel).latent_dist
    error = (vae.decode(found.sample()).sample - mel).abs().mean()
    return error + prior * found.kl().mean() / found.mean[0].numel()


def _spectrograms(recipe: AudioCodecRecipe, rng: random.Random) -> torch.Tensor:
    """(batch, 1, frames, 64) of training combinations."""
    samples = recipe.frames * HOP
    parts = []
    for _ in range(recipe.batch):
        first = rng.randrange(round(SECONDS * SAMPLE_RATE) - samples + 1)
        sound = synthesise(random_audio_scene(rng))[first : first + samples]
        parts.append(sound * rng.uniform(_QUIETEST, 1.0))
    return log_mel(torch.stack(parts))


def _audio(count: int, seed: str, held: bool) -> torch.Tensor:
    rng = random.Random(seed)
    return torch.stack([synthesise(random_audio_scene(rng, held=held)) for _ in range(count)])


def _write(vae: nn.Module, recipe: AudioCodecRecipe) -> None:
    """Both folders, with the factor that gives the latents of training scenes unit spread."""
    out = recipe.out
    sounds = _audio(recipe.measured, f"{recipe.seed}/spread", held=False)
    spread = float(vae.encode(log_mel(sounds)).latent_dist.mean.std())
    vae.register_to_config(scaling_factor=round(1 / spread, 6))
    vae.save_pretrained(out / VAE)
    (out / VOCODER).mkdir(parents=True, exist_ok=True)
    text = json.dumps({"_class_name": GRIFFIN_LIM, "iterations": 32}, indent=2) + "\n"
    (out / VOCODER / CONFIG).write_text(text, encoding="utf-8")


def _measured(recipe: AudioCodecRecipe) -> dict[str, float]:
    codec, sounds = load_audio_codec(recipe.out), _audio(recipe.measured, f"{recipe.seed}/held", held=True)
    latents, wanted = codec.encode(sounds), log_mel(sounds)
    heard = log_mel(codec.to_waveform(latents, sounds.shape[1]))
    figures = {
        "held_out_error": float((codec.decode(latents) - wanted).abs().mean()),
        "heard_error": float((heard - wanted).abs().mean()),
    }
    (recipe.out / FIGURES).write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures
