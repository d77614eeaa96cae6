"""Previews of latents without the VAE, by a linear map to RGB."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..network.config import VideoConfig
from ..shapes.latents import LATENT_CHANNELS

# Least-squares fit of RGB in -1..1 against CogVideoX latents, published as data in kijai/ComfyUI-CogVideoXWrapper,
# latent_preview.py, rounded to 4 decimals. `benchmarks/fit_preview.py` repeats the fit on a real VAE.
LATENT_RGB_FACTORS = [
    [0.1195, 0.0992, -0.0048],
    [-0.0012, 0.0550, 0.0213],
    [-0.0141, -0.0087, -0.0210],
    [0.0306, 0.1219, 0.0140],
    [0.0927, 0.0303, 0.0508],
    [0.0379, 0.0494, 0.0586],
    [0.0177, 0.0088, 0.0360],
    [0.1061, 0.0234, 0.0572],
    [0.1274, -0.0110, 0.0433],
    [-0.0187, 0.0822, 0.1061],
    [0.0084, 0.0762, 0.0930],
    [0.1294, 0.1236, 0.0448],
    [0.0457, 0.0411, -0.0177],
    [0.0002, -0.0140, 0.0533],
    [0.0808, 0.1155, -0.0215],
    [-0.0152, -0.0058, 0.0722],
]


def preview_factors(config: VideoConfig) -> list[list[float]] | None:
    """RGB factors for a network's latents: those of the checkpoint, else the released ones if the channels match."""
    if config.latent_rgb is not None:
        return [list(row) for row in config.latent_rgb]
    return LATENT_RGB_FACTORS if config.channels == LATENT_CHANNELS else None


def latents_to_rgb(latents: torch.Tensor, factors: Sequence[Sequence[float]] = LATENT_RGB_FACTORS) -> torch.Tensor:
    """Approximate colors of scaled latents (B, C, F, H, W): (B, F, H, W, 3) in 0..1, one pixel per latent pixel.

    factors: one RGB row per channel, plus an optional last row with the bias.
    """
    table = torch.tensor(factors, dtype=latents.dtype, device=latents.device)
    channels = latents.shape[1]
    colors = torch.einsum("bcfhw,cr->bfhwr", latents, table[:channels]) + table[channels:].sum(dim=0)
    return ((colors + 1) / 2).clamp(0, 1)
