"""Adds the parts of the mini audio model to a bundle that has a video model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from ..audio.codec_loader import read_codec_channels
from ..audio.feature_config import read_feature_widths
from ..checkpoints.audio import CHECKPOINT_NAME, CODEC_FOLDER, FEATURES_FOLDER, read_audio_config
from ..errors import LuminaError
from ..pipelines.bundle import DESCRIPTION, read_bundle
from ..runtime.atomic import atomic_write
from ..runtime.tensor_files import read_safetensors
from ..train.network import start_weights
from .bundling import SOUND

_PARTS = (f"{CODEC_FOLDER}/vae", f"{CODEC_FOLDER}/vocoder", f"{FEATURES_FOLDER}/clip", f"{FEATURES_FOLDER}/sync")
# The network is stored in the dtype that it runs in on a GPU. Codec and encoders run in float32 everywhere, and their
# rounding is audible; their weights are small enough for fp16, which has three more bits of precision than bf16.
_NETWORK_STORED, _REST_STORED = torch.bfloat16, torch.float16


@dataclass(frozen=True, kw_only=True)
class AudioBundleRecipe:
    """Locations of the parts.

    Args:
        out: folder of the bundle. An audio model that it already has is replaced.
        network: training run of the audio network; its latest EMA weights are used.
        features: folder of the CLIP and the sync encoder.
        codec: folder of the audio codec.
    """

    out: Path
    network: Path
    features: Path
    codec: Path


def write_audio_bundle(recipe: AudioBundleRecipe) -> Path:
    """Write the bundle's audio folder and return it.

    Raises LuminaError for parts that are missing or do not fit together.
    """
    read_bundle(recipe.out)
    network = start_weights(recipe.network)
    config = read_audio_config(network)
    config.check_features(*read_feature_widths(recipe.features))
    channels = read_codec_channels(recipe.codec)
    if channels != config.channels:
        raise LuminaError(
            f"The network of {recipe.network} has {config.channels} latent channels and the codec of {recipe.codec} "
            f"{channels}; train the network on this codec's latents.",
            field="codec",
            kind="mismatch",
        )
    target = recipe.out / SOUND
    _copy_weights(network, target / CHECKPOINT_NAME, _NETWORK_STORED)
    for part in _PARTS:
        source = (recipe.codec if part.startswith(CODEC_FOLDER) else recipe.features) / Path(part).name
        _copy_folder(source, target / part)
    _name_in_description(recipe.out)
    return target


def _copy_folder(source: Path, target: Path) -> None:
    """Copy weights and the config files that loaders read, but not the figures of the training."""
    for file in sorted(source.iterdir()):
        if file.suffix == ".safetensors":
            _copy_weights(file, target / file.name, _REST_STORED)
        elif file.suffix in (".json", ".txt") and file.is_file():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / file.name)


def _copy_weights(source: Path, target: Path, dtype: torch.dtype) -> None:
    from safetensors.torch import save_file

    weights, metadata = read_safetensors(source)
    stored = {key: value.to(dtype) if value.is_floating_point() else value for key, value in weights.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as part:
        save_file(stored, part, metadata=metadata | {"format": "pt"})


def _name_in_description(folder: Path) -> None:
    file = folder / DESCRIPTION
    values = json.loads(file.read_text(encoding="utf-8")) | {SOUND: SOUND}
    with atomic_write(file) as part:
        part.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
