"""AudioLDM's own checkpoint: one file with everything, of which the VAE and the vocoder are taken.

Names of both layouts: haoheliu/AudioLDM, and diffusers' scripts/convert_original_audioldm_to_diffusers.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..runtime.tensor_files import Weights, read_safetensors, unreadable

_PREFIX, _VOCODER = "first_stage_model.", "first_stage_model.vocoder."
_RATES = [5, 4, 2, 2, 2]
_RELEASED_SCALE = 0.9227914214134216
"""Of cvssp/audioldm, for a file that does not tell its own."""


def read_original(file: Path, header_only: bool = False) -> Weights:
    """The tensors of the VAE, the vocoder and ``scale_factor``. A .ckpt is read whole. Raises LuminaError."""
    if file.suffix == ".safetensors":
        weights = read_safetensors(file, header_only)[0]
        if header_only and "scale_factor" in weights:
            weights["scale_factor"] = torch.tensor(_RELEASED_SCALE)
    else:
        weights = _read_pickle(file)
    found = {key: value for key, value in weights.items() if key.startswith(_PREFIX) or key == "scale_factor"}
    if not any(key.startswith(_VOCODER) for key in found):
        raise LuminaError(
            f"{file.name} holds no VAE and vocoder of AudioLDM (no {_VOCODER}*); give AudioLDM's checkpoint, or a "
            "folder with vae/ and vocoder/."
        )
    return found


def original_config(name: str, weights: Weights) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configs of the VAE and of the vocoder, by shapes. Raises LuminaError."""
    try:
        return _vae_config(weights), _vocoder_config(weights)
    except (KeyError, IndexError) as error:
        raise LuminaError(f"{name} is not AudioLDM's checkpoint ({error.args[0]} is missing); fetch it.") from None


def original_parts(weights: Weights) -> tuple[Weights, Weights]:
    """Weights of the VAE and of the vocoder under their new names."""
    levels = _levels(weights)
    vae = {
        _vae_name(key.removeprefix(_PREFIX), levels): value
        for key, value in weights.items()
        if key.startswith(_PREFIX) and not key.startswith(_VOCODER)
    }
    # Attention's 1x1 convolutions became linear layers.
    vae = {key: value[..., 0, 0] if ".to_" in key and value.ndim == 4 else value for key, value in vae.items()}
    vocoder = {
        key.removeprefix(_VOCODER).replace("ups.", "upsampler.", 1): value
        for key, value in weights.items()
        if key.startswith(_VOCODER)
    }
    bins = vocoder["conv_pre.weight"].shape[1]
    return vae, {"mean": torch.zeros(bins), "scale": torch.ones(bins), **vocoder}


def _read_pickle(file: Path) -> Weights:
    try:
        values = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on a damaged file
        raise unreadable(file.name, error) from None
    values = values.get("state_dict", values) if isinstance(values, dict) else {}
    return {key: value for key, value in values.items() if isinstance(value, torch.Tensor)}


def _levels(weights: Weights) -> int:
    return len({match[1] for key in weights if (match := re.match(rf"{_PREFIX}encoder\.down\.(\d+)\.", key))})


def _vae_config(weights: Weights) -> dict[str, Any]:
    def shape(name: str) -> torch.Size:
        return weights[f"{_PREFIX}{name}"].shape

    levels = _levels(weights)
    blocks = {key.split(".")[5] for key in weights if key.startswith(f"{_PREFIX}encoder.down.0.block.")}
    return {
        "in_channels": shape("encoder.conv_in.weight")[1],
        "out_channels": shape("decoder.conv_out.weight")[0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [shape(f"encoder.down.{level}.block.0.conv2.weight")[0] for level in range(levels)],
        "layers_per_block": len(blocks),
        "latent_channels": shape("post_quant_conv.weight")[1],
        # The original has 32 everywhere; narrower ones, such as tests write, have fewer.
        "norm_num_groups": min(32, shape("encoder.down.0.block.0.norm1.weight")[0]),
        "scaling_factor": float(weights.get("scale_factor", torch.tensor(_RELEASED_SCALE))),
    }


def _vocoder_config(weights: Weights) -> dict[str, Any]:
    first = weights[f"{_VOCODER}conv_pre.weight"].shape
    ups = [weights[f"{_VOCODER}ups.{number}.weight"].shape[-1] for number in range(len(_RATES))]
    blocks = {int(m[1]) for key in weights if (m := re.match(rf"{re.escape(_VOCODER)}resblocks\.(\d+)\.", key))}
    kernels = [
        weights[f"{_VOCODER}resblocks.{number}.convs1.0.weight"].shape[-1]
        for number in range(len(blocks) // len(_RATES))
    ]
    return {
        "model_in_dim": first[1],
        "sampling_rate": 16000,
        "upsample_initial_channel": first[0],
        "upsample_rates": _RATES,
        "upsample_kernel_sizes": ups,
        "resblock_kernel_sizes": kernels,
        "resblock_dilation_sizes": [[1, 3, 5]] * len(kernels),
        "normalize_before": False,
    }


def _vae_name(key: str, levels: int) -> str:
    key = key.replace("norm_out.", "conv_norm_out.").replace("nin_shortcut.", "conv_shortcut.")
    key = re.sub(r"\.mid\.block_([12])\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", key)
    key = key.replace(".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm.")
    key = key.replace(".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0.")
    key = re.sub(r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1.", key)
    key = re.sub(r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets.", key)
    key = re.sub(r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0.", key)
    key = re.sub(r"\.up\.(\d+)\.block\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.resnets.", key)
    return re.sub(r"\.up\.(\d+)\.upsample\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.upsamplers.0.", key)
