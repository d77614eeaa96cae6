"""Loads Lumina-V2A checkpoints: one .safetensors file whose header holds the ``AudioConfig``, loaded strictly."""

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
from .video import VIDEO_METADATA_KEY, clean_keys

# Safetensors metadata entry: a JSON object with every field of AudioConfig.
AUDIO_METADATA_KEY = "lumina_v2a"
# In the folder of an audio model: name of the checkpoint, and subfolders of the codec and of the feature encoders.
CHECKPOINT_NAME, CODEC_FOLDER, FEATURES_FOLDER = "model.safetensors", "codec", "features"


def load_audio_model(
    path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AudioNextDiT:
    """Load an audio model.

    Args:
        path: a .safetensors file, or a folder with model.safetensors.
        device: of the network.
        dtype: of its parameters.

    Returns:
        The network in eval mode, without gradients.

    Raises:
        LuminaError: the file is missing, damaged or not an audio model.
    """
    config, weights = read_audio_checkpoint(path)
    with torch.device("meta"):
        model = AudioNextDiT(config, ops_for(device))
    weights = {key: value.to(device, dtype) for key, value in weights.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def read_audio_checkpoint(path: str | Path) -> tuple[AudioConfig, Weights]:
    """Configuration and weights, with every key, shape and value checked. Raises LuminaError."""
    file = find_audio_weights(path)
    weights, metadata = read_safetensors(file)
    weights = clean_keys(weights)
    config = detect_audio_config(file.name, weights, metadata)
    check_finite(file.name, weights)
    return config, weights


def read_audio_config(path: str | Path) -> AudioConfig:
    """The configuration of the network that ``load_audio_model(path)`` loads, with every key and shape checked.

    Reads the header alone. Raises LuminaError.
    """
    file = find_audio_weights(path)
    weights, metadata = read_safetensors(file, header_only=True)
    return detect_audio_config(file.name, clean_keys(weights), metadata)


def audio_metadata(config: AudioConfig) -> dict[str, str]:
    """The safetensors metadata for a checkpoint of this configuration."""
    return {AUDIO_METADATA_KEY: json.dumps(asdict(config))}


def find_audio_weights(path: str | Path) -> Path:
    """The weights file of ``path``, which is that file or a folder with model.safetensors. Raises LuminaError."""
    path = Path(path)
    file = path / CHECKPOINT_NAME if path.is_dir() else path
    if not file.is_file():
        empty = f"Folder '{path}' holds no {CHECKPOINT_NAME}"
        found = empty if path.is_dir() else f"Audio model '{path}' does not exist"
        raise LuminaError(
            f"{found}; give the .safetensors file of an audio model or its folder.", field="model", kind="missing"
        )
    if file.suffix != ".safetensors":
        raise LuminaError(
            f"'{file.name}' is not an audio model; expected a .safetensors file.", field="model", kind="file"
        )
    return file


def detect_audio_config(name: str, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> AudioConfig:
    """The configuration in a header, after checking every key and shape against it.

    Args:
        name: of the file.
        weights: tensors by name, or their shapes on the meta device.
        metadata: of the file.

    Raises:
        LuminaError: not an audio model, or keys or shapes that do not fit its configuration.
    """
    config = _config(name, metadata)
    with torch.device("meta"):
        network = AudioNextDiT(config)
    check_fit(name, weights, network, f"a Lumina-V2A network of width {config.dim} and {config.layers} layers")
    return config


def _config(name: str, metadata: Mapping[str, str]) -> AudioConfig:
    if AUDIO_METADATA_KEY not in metadata:
        found = ", which is a Lumina-Video checkpoint" if VIDEO_METADATA_KEY in metadata else ""
        raise LuminaError(
            f"{name}{found}, is not a Lumina-V2A audio model (its header has no '{AUDIO_METADATA_KEY}'); the paper's "
            "authors released none, so use the bundled mini audio model or one trained with recipes/audio.",
            field="model",
            kind="file",
        )
    try:
        values = json.loads(metadata[AUDIO_METADATA_KEY])
    except ValueError:
        raise LuminaError(
            f"The header of {name} is damaged ('{AUDIO_METADATA_KEY}'); download it again.", field="model", kind="file"
        ) from None
    return build(AudioConfig, values, f"The header of {name}")
