"""The latent format of Lumina-Video: latents of a video VAE, scaled for the network."""

from __future__ import annotations

import comfy.latent_formats

from ...lumina_core.network.config import VideoConfig
from ...lumina_core.shapes.latents import VAE_FRAMES, VAE_SPACE
from ...lumina_core.vae.latent_preview import preview_factors
from ...lumina_core.vae.loader import SCALE


class LuminaVideoLatent(comfy.latent_formats.LatentFormat):
    """``process_in`` multiplies by the scale and ``process_out`` divides by it, as the official decoding does.

    Args:
        config: gives the number of channels and the preview colors; None is the released model, with CogVideoX's 16
            channels.
    """

    latent_dimensions = 3
    temporal_downscale_ratio = VAE_FRAMES
    spacial_downscale_ratio = VAE_SPACE
    scale_factor = SCALE

    def __init__(self, config: VideoConfig | None = None):
        config = config or VideoConfig()
        self.latent_channels = config.channels
        rows = preview_factors(config)
        self.latent_rgb_factors = rows and rows[: config.channels]
        self.latent_rgb_factors_bias = rows[config.channels] if rows and len(rows) > config.channels else None

    def preview_rows(self) -> list[list[float]] | None:
        """Factors and bias as ``lumina_core.vae.latent_preview.latents_to_rgb`` takes them; None if unknown."""
        factors, bias = self.latent_rgb_factors, self.latent_rgb_factors_bias
        return factors if factors is None or bias is None else [*factors, bias]
