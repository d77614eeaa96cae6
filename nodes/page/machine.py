"""What the page's plan needs to know of this machine to say whether its memory is enough."""

from __future__ import annotations

import comfy.model_management as management

from ...lumina_core.cost.memory import parameters
from ...lumina_core.cost.memory_advice import CARD_RESERVE
from ...lumina_core.network.config import VideoConfig
from ..host.video_model import LuminaVideoConfig
from ..loaders import WEIGHT_DTYPES


def device_facts(config: VideoConfig, weight_dtype: str | None, batch: int) -> dict[str, int]:
    """Arguments of ``plan_outline``: the ``room`` that a run has here, and the sizes of its numbers.

    weight_dtype: the loader's choice; None, and the loader's ``default``, is what the host takes.
    """
    device = management.get_torch_device()
    dtype = WEIGHT_DTYPES.get(weight_dtype)
    if dtype is None:
        supported = LuminaVideoConfig.supported_inference_dtypes
        dtype = management.unet_dtype(model_params=parameters(config), supported_dtypes=supported)
    computed = management.unet_manual_cast(dtype, device, LuminaVideoConfig.supported_inference_dtypes) or dtype
    room = management.get_total_memory(device) - CARD_RESERVE
    return {"room": max(0, round(room)), "batch": batch, "dtype_size": computed.itemsize, "weight_size": dtype.itemsize}
