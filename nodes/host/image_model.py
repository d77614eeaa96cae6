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
from .network import flow_time
from .size_warning import warn_of_size
from .video_model import HostNextDiT, LuminaVideoConfig, LuminaVideoModel, make_patcher, read_weights


class HostImageNextDiT(HostNextDiT, ImageNextDiT):
    """The core's image network with the host's calling convention. Parameters keep their released names."""

    def _forward(self, x, t, context, transformer_options, **kwargs):
        """An image runs as a video of one frame."""
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
        """Peak memory of a forward pass in bytes, without weights; ``input_shape`` is (B, C, H, W)."""
        # Video latents come this far: the network rejects them later, with a message for the user.
        batch, channels, *_, height, width = input_shape
        return super().memory_required([batch, channels, 1, height, width])

    def process_timestep(self, timestep, **kwargs):
        """Flow time t = 1 - sigma of the host's timesteps (B,), not rounded, as in the released bf16 run."""
        return flow_time(self, timestep)


class LuminaImageConfig(LuminaVideoConfig):
    """The model family as the host describes one. The time shift is that of the released demo."""

    sampling_settings = {"shift": 4.0, "multiplier": 1.0}
    latent_format = comfy.latent_formats.SDXL

    def get_model(self, state_dict, prefix="", device=None):
        return LuminaImageModel(self, device=device)


def load_image(
    path: str | Path, dtype: torch.dtype | None = None, channels: int | None = None, disable_dynamic: bool = False
):
    """Load a Lumina-Next checkpoint as the host's model patcher.

    Args:
        path: the weights file, with its config file next to it.
        dtype: of the weights; None leaves the choice to the host.
        channels: number of latent channels, from the first, to which CFG applies; None is all.
        disable_dynamic: whether to load without the host's dynamic offload.

    Raises:
        LuminaError: the file is missing, damaged or not a Lumina-Next checkpoint.
    """
    path = Path(path)
    config, weights = image_parts(path, read_weights(path)[0])
    model_config = LuminaImageConfig({"config": replace(config, guided_channels=channels)})
    model_config.latent_format = comfy.latent_formats.SDXL()
    patcher = make_patcher(model_config, weights, dtype, disable_dynamic)
    # Under dynamic offload the host rebuilds a plain patcher from this, for torch.compile and hooks.
    patcher.cached_patcher_init = (load_image, (path, dtype, channels))
    if channels is not None:
        patcher.set_model_sampler_post_cfg_function(_FirstChannels(channels))
    patcher = guard_first_step(patcher, lambda velocity: check_velocity(velocity[:, :, None]))
    return warn_of_size(patcher)


class _FirstChannels:
    """A post-CFG hook of the host that leaves the remaining channels unguided."""

    def __init__(self, channels: int):
        self.channels = channels

    def __call__(self, args: dict) -> torch.Tensor:
        # A denoised sample is linear in the velocity, so guiding its channels guides those of the velocity.
        return first_channels(args["denoised"], args["cond_denoised"], self.channels)
