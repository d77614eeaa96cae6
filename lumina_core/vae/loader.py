"""Loads a ``VideoVAE`` from the files of CogVideoX-2b or of a bundle."""

import json
from dataclasses import fields
from pathlib import Path
from typing import cast

import torch

from ..errors import LuminaError
from ..runtime.tensor_files import check_finite, check_fit, read_safetensors
from ..shapes.latents import LATENT_CHANNELS, VAE_FRAMES
from .codec import SCALE, VideoVAE, latent_count
from .compact import CompactVAE, CompactVAEConfig

__all__ = ["SCALE", "VideoVAE", "latent_count", "load_video_vae", "read_vae_channels"]

_CHANNELS, _BLOCKS = "latent_channels", "block_out_channels"
# Values of THUDM/CogVideoX-2b vae/config.json, for a weights file without a config.
RELEASED = {
    _BLOCKS: [128, 256, 256, 512],
    _CHANNELS: LATENT_CHANNELS,
    "layers_per_block": 3,
    "norm_num_groups": 32,
    "scaling_factor": SCALE,
    "temporal_compression_ratio": VAE_FRAMES,
}
COMPACT = CompactVAE.__name__
WEIGHTS = "diffusion_pytorch_model.safetensors"


def load_video_vae(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> VideoVAE:
    """Load the VAE of CogVideoX-2b, or a ``CompactVAE`` if config.json has that as its ``_class_name``.

    Args:
        path: a diffusers folder (config.json and diffusion_pytorch_model.safetensors), a folder that contains such a
            folder named ``vae``, or one .safetensors file with diffusers key names. A single file takes its config from
            a config.json next to it, else from its metadata entry ``config``, else from the released values.
        device, dtype: of the weights.

    Raises:
        LuminaError: missing files, another VAE, or keys that are missing or unexpected.
    """
    file = find_vae_weights(Path(path))
    weights, metadata = read_safetensors(file)
    module = _build(_read_config(file, metadata), file)
    kind = f"a {COMPACT}" if isinstance(module, CompactVAE) else "the VAE of CogVideoX-2b"
    check_fit(file.name, weights, module, f"{kind} with the config next to it")
    check_finite(file.name, weights)
    module.load_state_dict({key: value.to(dtype) for key, value in weights.items()}, assign=True)
    return VideoVAE(module.eval().requires_grad_(False).to(device))


def read_vae_channels(path: str | Path) -> int:
    """Number of latent channels of a VAE, read from its config alone.

    Raises:
        LuminaError: it is not a VAE.
    """
    file = find_vae_weights(Path(path))
    config = _read_config(file, read_safetensors(file, header_only=True)[1])
    return _compact_config(config, file).latent_channels if _is_compact(config) else _check(config, file)[_CHANNELS]


def find_vae_weights(path: Path) -> Path:
    """The weights file of ``path``: a file, a folder, or a folder that contains a vae folder.

    Raises:
        LuminaError: there is none.
    """
    if path.is_dir():
        for folder in (path, path / "vae"):
            if (folder / WEIGHTS).is_file():
                return folder / WEIGHTS
        raise LuminaError(
            f"VAE folder {path} has no {WEIGHTS} in it or in its vae/ folder; download the vae folder of CogVideoX-2b.",
            field="vae",
            kind="missing",
        )
    if not path.is_file():
        raise LuminaError(
            f"VAE {path} does not exist; give the vae folder of CogVideoX-2b or one .safetensors file.",
            field="vae",
            kind="missing",
        )
    if path.suffix != ".safetensors":
        raise LuminaError(
            f"VAE {path.name} has the suffix {path.suffix!r}; give a .safetensors file.", field="vae", kind="file"
        )
    return path


def _read_config(file: Path, metadata: dict[str, str]) -> dict:
    config_file = file.with_name("config.json")
    source = f"{config_file}" if config_file.is_file() else f"metadata of {file}"
    text = config_file.read_text(encoding="utf-8") if config_file.is_file() else metadata.get("config")
    if text is None:
        return RELEASED
    try:
        config = json.loads(text)
    except ValueError as error:
        raise LuminaError(
            f"The VAE config in {source} is not JSON ({error}); download it again.", field="vae", kind="file"
        ) from error
    if not isinstance(config, dict):
        raise LuminaError(
            f"The VAE config in {source} is a {type(config).__name__}, not a JSON object; download it again.",
            field="vae",
            kind="file",
        )
    return config


def _build(config: dict, file: Path) -> torch.nn.Module:
    """The module of a config, on the meta device, without weights."""
    if _is_compact(config):
        with torch.device("meta"):
            return CompactVAE(_compact_config(config, file))
    found = _check(config, file)
    try:
        from diffusers import AutoencoderKLCogVideoX
    except ImportError as error:
        raise LuminaError(
            "The VAE needs the package diffusers; install it with: pip install diffusers.",
            field="diffusers",
            kind="missing",
        ) from error
    try:
        with torch.device("meta"):
            return cast(torch.nn.Module, AutoencoderKLCogVideoX.from_config(found))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise LuminaError(
            f"The VAE config of {file} is not valid ({error}); download it again.", field="vae", kind="file"
        ) from error


def _is_compact(config: dict) -> bool:
    return config.get("_class_name") == COMPACT


def _compact_config(config: dict, file: Path) -> CompactVAEConfig:
    known = [field.name for field in fields(CompactVAEConfig)]
    sizes = {name: value for name, value in config.items() if name != "_class_name"}
    wrong = [f"{name} {value!r}" for name, value in sizes.items() if name not in known or not _is_size(value)]
    wrong += [f"no {name}" for name in known if name not in sizes]
    if wrong:
        raise LuminaError(
            f"The config of {file} has {', '.join(wrong)}; expected only {', '.join(known)}, each an integer above 0.",
            field="vae",
            kind="file",
        )
    return CompactVAEConfig(**sizes)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check(config: dict, file: Path) -> dict:
    """The config, completed with the released values.

    Raises:
        LuminaError: it is not that of CogVideoX-2b.
    """
    found = RELEASED | {"_class_name": "AutoencoderKLCogVideoX"} | config
    expected = {
        "_class_name": "AutoencoderKLCogVideoX",
        _CHANNELS: LATENT_CHANNELS,
        "scaling_factor": SCALE,  # 0.7 is CogVideoX-5b
        "temporal_compression_ratio": VAE_FRAMES,
    }
    wrong = [f"{key} {found[key]} (expected {value})" for key, value in expected.items() if found[key] != value]
    blocks = found[_BLOCKS]
    if not isinstance(blocks, list) or len(blocks) != 4:
        wrong.append(f"{_BLOCKS} {blocks} (expected 4 numbers)")
    if found.get("use_quant_conv") or found.get("use_post_quant_conv"):
        wrong.append("quant convolutions (expected none)")
    if wrong:
        raise LuminaError(
            f"{file} is not the VAE of CogVideoX-2b: it has {', '.join(wrong)}; use the VAE of CogVideoX-2b.",
            field="vae",
            kind="mismatch",
        )
    return found
