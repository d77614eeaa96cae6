"""Assembles the mini bundle from its parts, in the layout that ``pipelines.bundle`` reads."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ..checkpoints.video import RELEASED_NAMES, load_video_model, video_metadata
from ..errors import LuminaError
from ..pipelines.bundle import DESCRIPTION
from ..runtime.atomic import atomic_write
from ..shapes.latents import VAE_FRAMES, VAE_SPACE
from ..train.network import start_weights
from ..vae.codec import VideoVAE
from ..vae.loader import WEIGHTS as VAE_WEIGHTS
from ..vae.loader import load_video_vae
from .captions import vocabulary
from .draw import draw
from .world import FPS, FRAMES, SIDE, random_scene

SOUND = "sound"  # folder of the audio model, which another recipe writes
STORED = torch.bfloat16  # halves the size of the files without a visible difference
_FITTED_CLIPS = 60  # clips for the latent preview


@dataclass(frozen=True, kw_only=True)
class BundleRecipe:
    """Locations of the parts, and the bundle's description.

    Args:
        out: folder of the bundle. Other files in it, such as the model card, are kept.
        network: training run of the video network; its latest EMA weights are used.
        text_encoder: folder of the text encoder.
        vae: folder of the autoencoder.
        name: name of the bundle.
        about: one sentence about it.
        preset: default sampling preset.
        motion_range: lowest and highest motion score of the training data.
        prompt: an example prompt.
    """

    out: Path
    network: Path
    text_encoder: Path
    vae: Path
    name: str
    about: str
    preset: str
    motion_range: tuple[float, float]
    prompt: str


def write_bundle(recipe: BundleRecipe) -> Path:
    """Write the bundle's files and return its folder.

    Raises LuminaError for parts that are missing or do not fit together.
    """
    network = load_video_model(start_weights(recipe.network))
    vae = load_video_vae(recipe.vae)
    if network.config.channels != vae.channels:
        raise LuminaError(
            f"The network of {recipe.network} has {network.config.channels} latent channels and the VAE of "
            f"{recipe.vae} {vae.channels}; train the network on this VAE's latents.",
            field="vae",
            kind="mismatch",
        )
    colors = tuple(tuple(round(value, 4) for value in row) for row in fit_latent_rgb(vae).tolist())
    metadata = video_metadata(replace(network.config, latent_rgb=colors))
    _write_weights(recipe.out / "video" / RELEASED_NAMES[0], network.state_dict(), metadata)
    _write_weights(recipe.out / "vae" / VAE_WEIGHTS, vae.module.state_dict(), {})
    shutil.copyfile(recipe.vae / "config.json", recipe.out / "vae" / "config.json")
    _copy_text_encoder(recipe.text_encoder, recipe.out / "text_encoder")
    _write_description(recipe)
    return recipe.out


def fit_latent_rgb(vae: VideoVAE) -> torch.Tensor:
    """Linear map from latents to RGB in -1..1 for previews, fitted by least squares on drawn clips.

    Returns (C + 1, 3): a row per latent channel, then the bias.
    """
    rng = random.Random(0)
    rows, colors = [], []
    for _ in range(_FITTED_CLIPS):
        frames = draw(random_scene(rng, outline_share=0.1))
        rows.append(vae.encode(frames)[0].permute(1, 2, 3, 0).flatten(0, 2))
        patches = frames.unflatten(0, (-1, VAE_FRAMES)).unflatten(2, (-1, VAE_SPACE)).unflatten(4, (-1, VAE_SPACE))
        colors.append((patches.mean(dim=(1, 3, 5)) * 2 - 1).flatten(0, 2))
    latents = torch.cat(rows)
    return torch.linalg.lstsq(F.pad(latents, (0, 1), value=1.0), torch.cat(colors)).solution


def _write_weights(file: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    stored = {name: tensor.to(STORED).contiguous() for name, tensor in weights.items()}
    with atomic_write(file, unique=False) as part:
        save_file(stored, part, metadata=metadata | {"format": "pt"})


def _copy_text_encoder(source: Path, target: Path) -> None:
    from safetensors.torch import load_file

    _write_weights(target / "model.safetensors", load_file(source / "model.safetensors"), {})
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, target / name)


def _write_description(recipe: BundleRecipe) -> None:
    description = {
        "name": recipe.name,
        "about": recipe.about,
        "checkpoint": f"video/{RELEASED_NAMES[0]}",
        "text_encoder": "text_encoder",
        "vae": "vae",
        "preset": recipe.preset,
        "size": {"width": SIDE, "height": SIDE, "frames": FRAMES},
        "fps": FPS,
        "motion_range": list(recipe.motion_range),
        "prompt": recipe.prompt,
        "vocabulary": vocabulary(),
    }
    if (recipe.out / SOUND).is_dir():
        description[SOUND] = SOUND
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(recipe.out / DESCRIPTION) as part:
        part.write_text(text, encoding="utf-8")
