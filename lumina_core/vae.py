"""CogVideoX VAE files into a `VideoVAE`."""

import json
from pathlib import Path

import torch

from .errors import LuminaError
from .shapes import LATENT_CHANNELS, VAE_FRAMES
from .vae_codec import SCALE, VideoVAE, latent_count
from .weights import check_finite, check_fit, read_safetensors

__all__ = ["SCALE", "VideoVAE", "latent_count", "load_video_vae"]

# The values of THUDM/CogVideoX-2b vae/config.json, for a weights file that comes without any.
RELEASED = {
    "block_out_channels": [128, 256, 256, 512],
    "latent_channels": LATENT_CHANNELS,
    "layers_per_block": 3,
    "norm_num_groups": 32,
    "scaling_factor": SCALE,
    "temporal_compression_ratio": VAE_FRAMES,
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def load_video_vae(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> VideoVAE:
    """Load the VAE of CogVideoX-2b.

    path: a diffusers folder (config.json and diffusion_pytorch_model.safetensors), a folder with such a folder named
    `vae`, or one .safetensors with diffusers key names; the last takes its config from a config.json beside it, else
    from its metadata entry `config`, else the released values.
    Raises LuminaError for missing files, another VAE, or keys that are missing or unexpected.
    """
    file = _find_weights(Path(path))
    weights, metadata = read_safetensors(file)
    module = _build(_read_config(file, metadata), file)
    check_fit(file.name, weights, module, "the VAE of CogVideoX-2b with the config beside it")
    check_finite(file.name, weights)
    module.load_state_dict({key: value.to(dtype) for key, value in weights.items()}, assign=True)
    return VideoVAE(module.eval().requires_grad_(False).to(device))


def _find_weights(path: Path) -> Path:
    if path.is_dir():
        for folder in (path, path / "vae"):
            if (folder / WEIGHTS).is_file():
                return folder / WEIGHTS
        raise LuminaError(
            f"VAE folder {path} has no {WEIGHTS} in it or in its vae/ folder; fetch the vae folder of CogVideoX-2b."
        )
    if not path.is_file():
        raise LuminaError(f"VAE {path} does not exist; give the vae folder of CogVideoX-2b or one .safetensors file.")
    if path.suffix != ".safetensors":
        raise LuminaError(f"VAE {path.name} is a {path.suffix or 'nameless'} file, expected .safetensors.")
    return path


def _read_config(file: Path, metadata: dict[str, str]) -> dict:
    beside = file.with_name("config.json")
    source = f"{beside}" if beside.is_file() else f"metadata of {file}"
    text = beside.read_text(encoding="utf-8") if beside.is_file() else metadata.get("config")
    if text is None:
        return RELEASED
    try:
        config = json.loads(text)
    except ValueError as error:
        raise LuminaError(f"The VAE config in {source} is not JSON ({error}); fetch it again.") from error
    if not isinstance(config, dict):
        raise LuminaError(f"The VAE config in {source} is a {type(config).__name__}, expected a JSON object.")
    return config


def _build(config: dict, file: Path) -> torch.nn.Module:
    """The empty network (on the meta device) of a config that fits Lumina-Video."""
    found = RELEASED | {"_class_name": "AutoencoderKLCogVideoX"} | config
    expected = {
        "_class_name": "AutoencoderKLCogVideoX",
        "latent_channels": LATENT_CHANNELS,
        "scaling_factor": SCALE,  # 0.7 is CogVideoX-5b
        "temporal_compression_ratio": VAE_FRAMES,
    }
    wrong = [f"{key} {found[key]} (expected {value})" for key, value in expected.items() if found[key] != value]
    blocks = found["block_out_channels"]
    if not isinstance(blocks, list) or len(blocks) != 4:
        wrong.append(f"block_out_channels {blocks} (expected 4 numbers)")
    if found.get("use_quant_conv") or found.get("use_post_quant_conv"):
        wrong.append("quant convolutions (expected none)")
    if wrong:
        raise LuminaError(f"{file} is not the VAE of CogVideoX-2b: it has {', '.join(wrong)}; use that one.")
    try:
        from diffusers import AutoencoderKLCogVideoX
    except ImportError as error:
        raise LuminaError("The VAE needs the package diffusers; install it with: pip install diffusers.") from error
    try:
        with torch.device("meta"):
            return AutoencoderKLCogVideoX.from_config(found)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise LuminaError(f"The VAE config of {file} gives no network ({error}); fetch it again.") from error
