"""Loads an ``AudioCodec`` from files; every key and shape is checked.

Layouts: a folder with vae/ and vocoder/ as in diffusers' AudioLDM (config.json and weights in each), or AudioLDM's
original single checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import LuminaError
from ..runtime.autoencoder_kl import build_autoencoder, current_names
from ..runtime.tensor_files import Weights, check_finite, check_fit, read_pth, read_safetensors
from ..shapes.audio_rates import MEL_BINS, MEL_HOP, SAMPLE_RATE
from .codec import AudioCodec
from .codec_original import original_config, original_parts, read_original
from .griffin_lim import GriffinLimVocoder

__all__ = ["AudioCodec", "load_audio_codec", "read_codec_channels"]

# Subfolders of a codec, and the config file in each.
VAE, VOCODER, CONFIG = "vae", "vocoder", "config.json"
GRIFFIN_LIM = "GriffinLim"  # `_class_name` of a vocoder config without weights
_WEIGHTS = {
    VAE: ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
    VOCODER: ("model.safetensors", "pytorch_model.bin"),
}


def load_audio_codec(path: str | Path, device: torch.device | str = "cpu") -> AudioCodec:
    """Load a codec in float32 from a folder or a single file.

    Raises LuminaError for files that are missing, damaged or not AudioLDM's.
    """
    path = Path(path)
    if _is_folder(path):
        vae, vocoder = _vae(path / VAE), _vocoder(path / VOCODER)
    else:
        weights = read_original(path)
        vae_weights, vocoder_weights = original_parts(weights)
        vae_config, vocoder_config = original_config(path.name, weights)
        vae = _filled(path.name, build_autoencoder(vae_config, path.name), vae_weights, "AudioLDM's VAE")
        vocoder = _filled(path.name, _build_vocoder(vocoder_config, path.name), vocoder_weights, "AudioLDM's vocoder")
    return AudioCodec(vae, vocoder).eval().requires_grad_(False).to(device)


def read_codec_channels(path: str | Path) -> int:
    """Latent channels of the codec at ``path``, read from its config. Raises LuminaError for a missing or bad file."""
    path = Path(path)
    if _is_folder(path):
        for part in (VAE, VOCODER):
            _weights_file(path / part)
        return _check_vae(_read_config(path / VAE), str(path / VAE))["latent_channels"]
    return original_config(path.name, read_original(path, header_only=True))[0]["latent_channels"]


def _is_folder(path: Path) -> bool:
    if not path.exists():
        raise LuminaError(
            f"Audio codec '{path}' does not exist; give a folder with {VAE}/ and {VOCODER}/ as in cvssp/audioldm, "
            "or AudioLDM's checkpoint.",
            field="codec",
            kind="missing",
        )
    missing = [part for part in (VAE, VOCODER) if path.is_dir() and not (path / part / CONFIG).is_file()]
    if missing:
        raise LuminaError(
            f"The audio codec folder '{path}' has no {missing[0]}/{CONFIG}; it needs {VAE}/ and {VOCODER}/ as "
            "in cvssp/audioldm.",
            field="codec",
            kind="missing",
        )
    return path.is_dir()


def _vae(folder: Path) -> nn.Module:
    module = build_autoencoder(_check_vae(_read_config(folder), str(folder)), str(folder))
    weights = current_names(_read_weights(folder))
    return _filled(f"{folder.name}/{_weights_file(folder).name}", module, weights, "the VAE of the config next to it")


def _vocoder(folder: Path) -> nn.Module:
    config = _read_config(folder)
    if config.get("_class_name") == GRIFFIN_LIM:
        return GriffinLimVocoder(int(config.get("iterations", 32)))
    module = _build_vocoder(config, str(folder))
    weights = _read_weights(folder)
    name = f"{folder.name}/{_weights_file(folder).name}"
    return _filled(name, module, weights, "the vocoder of the config next to it")


def _check_vae(config: dict[str, Any], where: str) -> dict[str, Any]:
    channels = [config.get(name) for name in ("in_channels", "out_channels")]
    blocks = config.get("block_out_channels")
    if config.get("_class_name", "AutoencoderKL") != "AutoencoderKL" or channels != [1, 1]:
        raise LuminaError(
            f"{where} is an {config.get('_class_name', 'VAE')} with {channels[0]} input channels, and an audio VAE "
            "has 1; use AudioLDM's (cvssp/audioldm) or the bundled one.",
            field="codec",
            kind="mismatch",
        )
    if not isinstance(blocks, list) or len(blocks) != 3:
        raise LuminaError(
            f"{where} does not downsample by 4 (block_out_channels {blocks}); use AudioLDM's VAE.",
            field="codec",
            kind="mismatch",
        )
    if not isinstance(config.get("latent_channels"), int):
        raise LuminaError(
            f"The config of {where} has no latent_channels; download it again.", field="codec", kind="file"
        )
    return config


def _build_vocoder(config: dict[str, Any], where: str) -> nn.Module:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    settings = SpeechT5HifiGanConfig(**{name: value for name, value in config.items() if not name.startswith("_")})
    hop = 1
    for rate in settings.upsample_rates:
        hop *= rate
    found = (settings.model_in_dim, settings.sampling_rate, hop)
    if found != (MEL_BINS, SAMPLE_RATE, MEL_HOP):
        raise LuminaError(
            f"The vocoder of {where} takes {found[0]} mel bins and returns {found[2]} samples per frame at {found[1]} "
            f"Hz, expected {MEL_BINS}, {MEL_HOP} and {SAMPLE_RATE}; use AudioLDM's vocoder.",
            field="codec",
            kind="mismatch",
        )
    with torch.device("meta"):
        return SpeechT5HifiGan(settings)


def _filled(name: str, module: nn.Module, weights: Weights, what: str) -> nn.Module:
    check_fit(name, weights, module, what)
    check_finite(name, weights)
    module.load_state_dict({key: value.float() for key, value in weights.items()}, assign=True)
    return module


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LuminaError(
            f"{folder / CONFIG} cannot be read ({error}); download it again.", field="codec", kind="file"
        ) from None
    if not isinstance(values, dict):
        raise LuminaError(f"{folder / CONFIG} is not a JSON object; download it again.", field="codec", kind="file")
    return values


def _weights_file(folder: Path) -> Path:
    if folder.name == VOCODER and _read_config(folder).get("_class_name") == GRIFFIN_LIM:
        return folder / CONFIG
    for name in _WEIGHTS[folder.name]:
        if (folder / name).is_file():
            return folder / name
    raise LuminaError(
        f"{folder} has no {_WEIGHTS[folder.name][0]}; download the weights that belong to its config.",
        field="codec",
        kind="missing",
    )


def _read_weights(folder: Path) -> Weights:
    file = _weights_file(folder)
    return read_safetensors(file)[0] if file.suffix == ".safetensors" else read_pth(file)
