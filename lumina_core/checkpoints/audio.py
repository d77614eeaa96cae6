"""Sound checkpoints: one .safetensors file with the whole ``AudioConfig`` in its header, loaded strict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from ..errors import LuminaError
from ..network.audio import AudioNextDiT
from ..network.audio_config import AudioConfig
from ..network.ops import ops_for
from ..runtime.dataclass_schema import build
from ..runtime.tensor_files import Weights, check_finite, check_fit, read_safetensors
from .video import METADATA_KEY as VIDEO_METADATA_KEY
from .video import clean_keys

METADATA_KEY = "lumina_v2a"
"""Safetensors metadata entry: a JSON object with every field of ``AudioConfig``."""
CHECKPOINT_NAME = "model.safetensors"
"""In a sound folder."""


def load_audio_model(
    path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AudioNextDiT:
    """Load a sound model from a .safetensors file, or from a folder that holds it.

    Returns the network in eval mode on ``device`` in ``dtype``. Raises LuminaError.
    """
    config, weights = read_audio_checkpoint(path)
    with torch.device("meta"):
        model = AudioNextDiT(config, ops_for(device))
    weights = {key: value.to(device, dtype) for key, value in weights.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def read_audio_checkpoint(path: str | Path) -> tuple[AudioConfig, Weights]:
    """Sizes and weights, every key, shape and value checked. Raises LuminaError."""
    file = find_audio_weights(path)
    weights, metadata = read_safetensors(file)
    weights = clean_keys(weights)
    config = detect_audio_config(file.name, weights, metadata)
    check_finite(file.name, weights)
    return config, weights


def read_audio_config(path: str | Path) -> AudioConfig:
    """What ``load_audio_model(path)`` would build, every key and shape checked, in the time of reading a header."""
    file = find_audio_weights(path)
    weights, metadata = read_safetensors(file, header_only=True)
    return detect_audio_config(file.name, clean_keys(weights), metadata)


def audio_metadata(config: AudioConfig) -> dict[str, str]:
    """The header entries of a checkpoint of this configuration."""
    return {METADATA_KEY: json.dumps(asdict(config))}


def find_audio_weights(path: str | Path) -> Path:
    """The weights file that ``path`` (a file, or a folder with model.safetensors) means. Raises LuminaError."""
    path = Path(path)
    file = path / CHECKPOINT_NAME if path.is_dir() else path
    if not file.is_file():
        empty = f"Folder '{path}' holds no {CHECKPOINT_NAME}"
        what = empty if path.is_dir() else f"Sound model '{path}' does not exist"
        raise LuminaError(f"{what}; give a sound model's .safetensors file or its folder.")
    if file.suffix != ".safetensors":
        raise LuminaError(f"'{file.name}' is not a sound model; expected a .safetensors file.")
    return file


def detect_audio_config(name: str, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> AudioConfig:
    """Sizes from the header of file ``name``; checks every key and shape of its weights. Raises LuminaError."""
    config = _config(name, metadata)
    with torch.device("meta"):
        network = AudioNextDiT(config)
    check_fit(name, weights, network, f"a Lumina-V2A network of width {config.dim} and {config.layers} layers")
    return config


def _config(name: str, metadata: Mapping[str, str]) -> AudioConfig:
    if METADATA_KEY not in metadata:
        found = "a Lumina-Video checkpoint, for pictures" if VIDEO_METADATA_KEY in metadata else "something else"
        raise LuminaError(
            f"{name} is no Lumina-V2A sound model (no '{METADATA_KEY}' in its header; it is {found}); the paper's "
            "authors released none, so use the bundled mini voice or one trained with recipes/audio."
        )
    try:
        values = json.loads(metadata[METADATA_KEY])
    except ValueError:
        raise LuminaError(f"The header of {name} is damaged ('{METADATA_KEY}'); fetch a fresh copy.") from None
    return build(AudioConfig, values, f"The header of {name}")
