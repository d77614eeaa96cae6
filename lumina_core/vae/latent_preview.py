"""Latents to small pictures without the VAE."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..network.config import VideoConfig
from ..shapes.latents import LATENT_CHANNELS

# Least-squares fit of RGB in -1..1 against CogVideoX latents, published as data in kijai/ComfyUI-CogVideoXWrapper,
# latent_preview.py, rounded to 4 decimals. `benchmarks/fit_preview.py` fits them again on a real VAE.
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
    """The factors that go with a network's latents: the checkpoint's own, else the released ones if the count fits."""
    if config.latent_rgb is not None:
        return [list(row) for row in config.latent_rgb]
    return LATENT_RGB_FACTORS if config.channels == LATENT_CHANNELS else None


def latents_to_rgb(latents: torch.Tensor, factors: Sequence[Sequence[float]] = LATENT_RGB_FACTORS) -> torch.Tensor:
    """Rough colours of scaled latents (B, C, F, H, W): (B, F, H, W, 3) in 0..1, one pixel per latent pixel.

    factors: a row of red, green and blue for each channel and, where there is one row more, the colour of zeros.
    """
    table = torch.tensor(factors, dtype=latents.dtype, device=latents.device)
    channels = latents.shape[1]
    colours = torch.einsum("bcfhw,cr->bfhwr", latents, table[:channels]) + table[channels:].sum(dim=0)
    return ((colours + 1) / 2).clamp(0, 1)
