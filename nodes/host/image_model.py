"""Lumina-Next as a native MODEL: latents (B, C, H, W) of the SDXL VAE, text of the first Gemma-2B."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import comfy.latent_formats
import torch

from ...lumina_core.checkpoints.image import image_parts
from ...lumina_core.errors import LuminaError
from ...lumina_core.network.image import ImageNextDiT
from ...lumina_core.sampling.guidance import first_channels
from ...lumina_core.sampling.loop import check_velocity
from .model_patches import guard_first_step
from .size_warning import warn_of_size
from .video_model import HostNextDiT, LuminaVideoConfig, LuminaVideoModel, make_patcher, read_weights


class HostImageNextDiT(HostNextDiT, ImageNextDiT):
    """The core's image network with the host's calling convention; parameter names stay as released."""

    def _forward(self, x, t, context, transformer_options, **kwargs):
        """As for a video of one frame."""
        if x.ndim != 4:
            raise LuminaError(
                "This MODEL generates images, but the latents are video latents; use Empty Latent "
                "Image with KSampler or SamplerCustomAdvanced.",
                field="latent_image",
                kind="mismatch",
            )
        return super()._forward(x[:, :, None], t, context, transformer_options, **kwargs)[:, :, 0]


class LuminaImageModel(LuminaVideoModel):
    """Sampling conventions and conditioning of the network."""

    network = HostImageNextDiT
    reference = (1, 4, 128, 128)

    def memory_required(self, input_shape, cond_shapes=None):
        """Bytes that one call holds beyond the weights; ``input_shape`` is (B, C, H, W)."""
        # A video's latents are refused by the network, in words.
        batch, channels, *_, height, width = input_shape
        return super().memory_required([batch, channels, 1, height, width])

    def process_timestep(self, timestep, **kwargs):
        """Flow time; unrounded, as the released run in bf16 has it too."""
        return 1.0 - timestep / getattr(self.model_sampling, "multiplier", 1.0)


class LuminaImageConfig(LuminaVideoConfig):
    """What the host asks a model family for. The shift is that of the released demo."""

    sampling_settings = {"shift": 4.0, "multiplier": 1.0}
    latent_format = comfy.latent_formats.SDXL

    def get_model(self, state_dict, prefix="", device=None):
        return LuminaImageModel(self, device=device)


def load_image(
    path: str | Path, dtype: torch.dtype | None = None, channels: int | None = None, disable_dynamic: bool = False
):
    """Load a checkpoint as the host's model patcher.

    Args:
        dtype: of the weights; None leaves the choice to the host.
        channels: how many are guided, from the first; None is all.

    Raises LuminaError.
    """
    path = Path(path)
    config, weights = image_parts(path, read_weights(path)[0])
    model_config = LuminaImageConfig({"config": replace(config, guided_channels=channels)})
    model_config.latent_format = comfy.latent_formats.SDXL()
    patcher = make_patcher(model_config, weights, dtype, disable_dynamic)
    # Lets the host rebuild a plain patcher, which torch.compile and hooks need under dynamic offload.
    patcher.cached_patcher_init = (load_image, (path, dtype, channels))
    if channels is not None:
        patcher.set_model_sampler_post_cfg_function(_FirstChannels(channels))
    patcher = guard_first_step(patcher, lambda velocity: check_velocity(velocity[:, :, None]))
    return warn_of_size(patcher)


class _FirstChannels:
    """The host's post-CFG hook that leaves the channels after the first ones unguided."""

    def __init__(self, channels: int):
        self.channels = channels

    def __call__(self, args: dict) -> torch.Tensor:
        # A denoised sample is linear in the velocity, so its channels are guided as the velocity's are.
        return first_channels(args["denoised"], args["cond_denoised"], self.channels)
