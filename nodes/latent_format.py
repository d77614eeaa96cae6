"""The latent format of Lumina-Video: CogVideoX latents, scaled for the network."""

from __future__ import annotations

import comfy.latent_formats

from ..lumina_core.preview import LATENT_RGB_FACTORS
from ..lumina_core.shapes import LATENT_CHANNELS, VAE_FRAMES, VAE_SPACE
from ..lumina_core.vae import SCALE


class LuminaVideoLatent(comfy.latent_formats.LatentFormat):
    """``process_in`` multiplies by the scale and ``process_out`` divides, as the official decode does."""

    latent_channels = LATENT_CHANNELS
    latent_dimensions = 3
    temporal_downscale_ratio = VAE_FRAMES
    spacial_downscale_ratio = VAE_SPACE
    scale_factor = SCALE
    latent_rgb_factors = LATENT_RGB_FACTORS
