"""SDXL's VAE, which Lumina-Next uses, as an ``ImageVAE``; loads files in diffusers' or the original layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import LuminaError
from ..runtime.autoencoder_kl import build_autoencoder, current_names, from_original, is_original, original_config
from ..runtime.tensor_files import Weights, check_finite, check_fit, read_safetensors

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
# scaling_factor of stabilityai/sdxl-vae, for a file without a config.
SCALE = 0.13025
# Prefixes of the VAE's keys, in a file of the VAE alone and in a full checkpoint.
_PREFIXES = ("", "first_stage_model.")


class ImageVAE:
    """Decodes latents to images; ``load_image_vae`` makes it.

    Args:
        module: diffusers' ``AutoencoderKL`` with 3 input and output channels.
    """

    def __init__(self, module: nn.Module):
        self.module: Any = module

    @property
    def channels(self) -> int:
        """Number of latent channels."""
        return self.module.config["latent_channels"]

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents to images.

        Args:
            latents: (B, C, h, w), scaled as the network predicts them, on any device and of any dtype.

        Returns:
            (B, H, W, 3), float32 in 0..1, on the CPU; H and W are 8 times h and w.

        Raises:
            LuminaError: the latents have another number of channels, or the images contain NaN or infinite values.
        """
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise LuminaError(
                f"The latents have shape {tuple(latents.shape)}; expected (batch, {self.channels}, height, width).",
                field="latents",
                kind="mismatch",
            )
        place = next(self.module.parameters())
        scaled = latents.to(place.device, torch.float32) / self.module.config["scaling_factor"]
        # One at a time, because memory limits the size of a decoded image.
        images = torch.cat([self.module.decode(each.to(place.dtype)).sample.float().cpu() for each in scaled.split(1)])
        if not bool(images.isfinite().all()):
            raise LuminaError(
                "The decoded images hold values that are not finite; use bf16 or fp32.", field="dtype", kind="numerics"
            )
        return (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)


def load_image_vae(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> ImageVAE:
    """Load SDXL's VAE.

    Args:
        path: a diffusers folder (config.json and diffusion_pytorch_model.safetensors), a folder that contains such a
            folder named ``vae``, or one .safetensors file, in diffusers' layout with a config.json next to it, or in
            the original layout, such as sdxl_vae.safetensors.
        device, dtype: of the module. SDXL's VAE overflows in float16.

    Raises:
        LuminaError: files are missing or damaged, or contain another VAE.
    """
    file = find_image_vae(path)
    weights, _ = read_safetensors(file)
    config, weights = _config(file, weights), _diffusers_weights(weights)
    module = build_autoencoder(config, file.name)
    check_fit(file.name, weights, module, "an AutoencoderKL of this config")
    check_finite(file.name, weights)
    module.load_state_dict({key: value.to(device, dtype) for key, value in weights.items()}, assign=True)
    return ImageVAE(module.eval().requires_grad_(False))


def read_image_vae_channels(path: str | Path) -> int:
    """Number of latent channels of an image VAE, read from headers and config alone. Raises LuminaError."""
    file = find_image_vae(path)
    return _config(file, read_safetensors(file, header_only=True)[0])["latent_channels"]


def find_image_vae(path: str | Path) -> Path:
    """The weights file of ``path``: a file, a folder, or a folder that contains a vae folder. Raises LuminaError."""
    path = Path(path)
    found = next((file for file in (path, path / WEIGHTS, path / "vae" / WEIGHTS) if file.is_file()), None)
    if found is None or found.suffix != ".safetensors":
        raise LuminaError(
            f"'{path}' contains no image VAE; give the vae folder of a diffusers model with {WEIGHTS}, or one "
            ".safetensors file such as sdxl_vae.safetensors.",
            field="vae",
            kind="missing",
        )
    return found


def _config(file: Path, weights: Weights) -> dict[str, Any]:
    prefix = _original_prefix(weights)
    config_file = file.with_name(CONFIG)
    try:
        if prefix is not None:
            config = original_config(weights, SCALE, prefix)
        else:
            config = json.loads(config_file.read_text(encoding="utf-8"))
        channels = (config["in_channels"], config["out_channels"], config["latent_channels"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise LuminaError(
            f"{file.name} has no {CONFIG} that describes its VAE, and is not in the original layout of SDXL's "
            f"VAE ({error}); give a vae folder with both files, or sdxl_vae.safetensors.",
            field="vae",
            kind="file",
        ) from None
    if channels[:2] != (3, 3) or not isinstance(channels[2], int):
        raise LuminaError(
            f"{file.name} is a VAE with {channels[0]} input and {channels[1]} output channels, expected 3 each; use "
            "the VAE of SDXL.",
            field="vae",
            kind="mismatch",
        )
    return config


def _original_prefix(weights: Weights) -> str | None:
    return next((prefix for prefix in _PREFIXES if is_original(weights, prefix)), None)


def _diffusers_weights(weights: Weights) -> Weights:
    prefix = _original_prefix(weights)
    return current_names(weights) if prefix is None else from_original(weights, prefix)
