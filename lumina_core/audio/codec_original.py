"""Reads the VAE and the vocoder from AudioLDM's original single checkpoint.

Source of the names: haoheliu/AudioLDM, and diffusers' scripts/convert_original_audioldm_to_diffusers.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..runtime.autoencoder_kl import from_original
from ..runtime.autoencoder_kl import original_config as vae_config
from ..runtime.tensor_files import Weights, read_safetensors, unreadable

_PREFIX, _VOCODER = "first_stage_model.", "first_stage_model.vocoder."
_RATES = [5, 4, 2, 2, 2]  # upsampling rates of the vocoder
# scale_factor of cvssp/audioldm, for files without one.
_RELEASED_SCALE = 0.9227914214134216


def read_original(file: Path, header_only: bool = False) -> Weights:
    """The tensors of the VAE, the vocoder and ``scale_factor``.

    Args:
        file: a .safetensors file, or a .ckpt, which is always read completely.
        header_only: whether tensors of a .safetensors file stay on the meta device.

    Raises:
        LuminaError: the file is damaged or not AudioLDM's.
    """
    if file.suffix == ".safetensors":
        weights = read_safetensors(file, header_only)[0]
        if header_only and "scale_factor" in weights:
            weights["scale_factor"] = torch.tensor(_RELEASED_SCALE)
    else:
        weights = _read_pickle(file)
    found = {key: value for key, value in weights.items() if key.startswith(_PREFIX) or key == "scale_factor"}
    if not any(key.startswith(_VOCODER) for key in found):
        raise LuminaError(
            f"{file.name} does not contain AudioLDM's VAE and vocoder (no {_VOCODER}*); give AudioLDM's checkpoint, or "
            "a folder with vae/ and vocoder/.",
            field="codec",
            kind="mismatch",
        )
    return found


def original_config(name: str, weights: Weights) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configs of the VAE and of the vocoder, derived from the shapes of the tensors.

    Args:
        name: the file's name, for the message.
        weights: from ``read_original``.

    Raises:
        LuminaError: a tensor is missing.
    """
    try:
        scale = float(weights.get("scale_factor", torch.tensor(_RELEASED_SCALE)))
        return vae_config(weights, scale, _PREFIX), _vocoder_config(weights)
    except (KeyError, IndexError) as error:
        raise LuminaError(
            f"{name} is not AudioLDM's checkpoint ({error.args[0]} is missing); download that file.",
            field="codec",
            kind="file",
        ) from None


def original_parts(weights: Weights) -> tuple[Weights, Weights]:
    """Weights of the VAE and of the vocoder under their names in diffusers and transformers."""
    vae = from_original({key: value for key, value in weights.items() if not key.startswith(_VOCODER)}, _PREFIX)
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
    except Exception as error:  # torch raises almost any exception on a damaged file
        raise unreadable(file.name, error) from None
    values = values.get("state_dict", values) if isinstance(values, dict) else {}
    return {key: value for key, value in values.items() if isinstance(value, torch.Tensor)}


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
