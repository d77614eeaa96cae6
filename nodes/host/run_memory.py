"""Memory and dtypes of this machine, for estimates of a run's memory."""

from __future__ import annotations

import comfy.model_management as management
import torch

from ...lumina_core.cost.memory import parameters
from ...lumina_core.cost.memory_advice import CARD_RESERVE
from ...lumina_core.network.config import VideoConfig
from .video_model import LuminaVideoConfig


def run_memory(config: VideoConfig, dtype: torch.dtype | None) -> dict[str, int]:
    """Keyword arguments of ``plan_outline``: the memory of the device and the dtypes of a run.

    Args:
        config: of the network.
        dtype: the loader's choice for the weights; None is what the host would choose.

    Returns:
        ``available``, the bytes that a run can use, and ``dtype_size`` and ``weight_size``, the bytes per element of
        activations and weights.
    """
    device, supported = management.get_torch_device(), LuminaVideoConfig.supported_inference_dtypes
    weights: torch.dtype = dtype or management.unet_dtype(model_params=parameters(config), supported_dtypes=supported)
    computed: torch.dtype = management.unet_manual_cast(weights, device, supported) or weights
    available = management.get_total_memory(device) - CARD_RESERVE
    return {"available": max(0, round(available)), "dtype_size": computed.itemsize, "weight_size": weights.itemsize}
