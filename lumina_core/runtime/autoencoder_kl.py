"""Converts weights of ``AutoencoderKL`` (the VAEs of SDXL and AudioLDM) from older layouts to diffusers' present names.

Source of the original layout: CompVis/latent-diffusion, and diffusers' scripts/convert_vae_pt_to_diffusers.py.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from ..errors import LuminaError
from .tensor_files import Weights

# Names of the attention layers in diffusers before April 2023, which older files still have.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def build_autoencoder(config: dict[str, Any], where: str) -> nn.Module:
    """The ``AutoencoderKL`` of a config, on the meta device.

    Args:
        config: entries of diffusers' config.json.
        where: name of the file, for the message.

    Raises:
        LuminaError: the config does not describe an ``AutoencoderKL``.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    known = {name: value for name, value in config.items() if not name.startswith("_")}
    try:
        with torch.device("meta"):
            module: Any = AutoencoderKL.from_config(known)
            return module
    except (TypeError, ValueError, KeyError) as error:
        raise LuminaError(
            f"The VAE config of {where} does not describe an AutoencoderKL ({error}); download it again.",
            field="vae",
            kind="file",
        ) from None


def current_names(weights: Weights) -> Weights:
    """Weights of a diffusers file of any version under the module's present names."""
    return _linear_attention({_current_name(key): value for key, value in weights.items()})


def is_original(weights: Weights, prefix: str = "") -> bool:
    """Whether the keys are those of the original layout, with ``prefix`` before them."""
    return f"{prefix}decoder.mid.block_1.conv1.weight" in weights


def original_config(weights: Weights, scale: float, prefix: str = "") -> dict[str, Any]:
    """The config of a file in the original layout, read off the shapes of its tensors.

    Args:
        weights: tensors, or their shapes on the meta device.
        scale: scaling factor of the latents, which the weights do not contain.
        prefix: of the VAE's keys, such as ``first_stage_model.``.

    Raises:
        KeyError: a tensor is missing.
    """

    def shape(name: str) -> torch.Size:
        return weights[f"{prefix}{name}"].shape

    levels = _levels(weights, prefix)
    start = f"{prefix}encoder.down.0.block."
    blocks = {key[len(start) :].split(".")[0] for key in weights if key.startswith(start)}
    return {
        "in_channels": shape("encoder.conv_in.weight")[1],
        "out_channels": shape("decoder.conv_out.weight")[0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [shape(f"encoder.down.{level}.block.0.conv2.weight")[0] for level in range(levels)],
        "layers_per_block": len(blocks),
        "latent_channels": shape("post_quant_conv.weight")[1],
        # Released models have 32 groups everywhere; narrower ones, such as those of tests, have fewer.
        "norm_num_groups": min(32, shape("encoder.down.0.block.0.norm1.weight")[0]),
        "scaling_factor": scale,
    }


def from_original(weights: Weights, prefix: str = "") -> Weights:
    """The VAE weights of a file in the original layout, under diffusers' names and without ``prefix``."""
    levels = _levels(weights, prefix)
    return _linear_attention(
        {
            _diffusers_name(key.removeprefix(prefix), levels): value
            for key, value in weights.items()
            if key.startswith(prefix)
        }
    )


def _linear_attention(weights: Weights) -> Weights:
    """Attention weights as matrices, which older files store as 1x1 convolutions."""
    return {key: value[..., 0, 0] if ".to_" in key and value.ndim == 4 else value for key, value in weights.items()}


def _current_name(key: str) -> str:
    if ".attentions." not in key:
        return key
    return ".".join(_OLD_ATTENTION.get(part, part) for part in key.split("."))


def _levels(weights: Weights, prefix: str) -> int:
    pattern = re.compile(rf"{re.escape(prefix)}encoder\.down\.(\d+)\.")
    return len({match[1] for key in weights if (match := pattern.match(key))})


def _diffusers_name(key: str, levels: int) -> str:
    key = key.replace("norm_out.", "conv_norm_out.").replace("nin_shortcut.", "conv_shortcut.")
    key = re.sub(r"\.mid\.block_([12])\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", key)
    key = key.replace(".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm.")
    key = key.replace(".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0.")
    key = re.sub(r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1.", key)
    key = re.sub(r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets.", key)
    key = re.sub(r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0.", key)
    key = re.sub(r"\.up\.(\d+)\.block\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.resnets.", key)
    return re.sub(r"\.up\.(\d+)\.upsample\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.upsamplers.0.", key)
