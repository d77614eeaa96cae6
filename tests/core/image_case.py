"""A tiny Lumina-Next in diffusers' own class, the reference of the image network."""

from __future__ import annotations

import math

import torch
from diffusers import LuminaNextDiT2DModel
from diffusers.models.embeddings import get_2d_rotary_pos_embed_lumina

from scripts.make_tiny_set import random_weights

LAYERS, HEADS, CHANNELS, TEXT = 2, 4, 4, 24
DIM = 48
SIDE = 8
"""Latent side of the pictures that the tiny model learnt."""
WATERSHED = 0.3
"""Of the released settings: positions are interpolated before this time, and NTK-scaled behind it."""


def reference(kv_heads: int, learn_sigma: bool = True, seed: int = 0) -> LuminaNextDiT2DModel:
    """Random weights, gates far from zero, and one set of queries for both attentions, as converted files have."""
    model = LuminaNextDiT2DModel(
        sample_size=SIDE,
        in_channels=CHANNELS,
        hidden_size=DIM,
        num_layers=LAYERS,
        num_attention_heads=HEADS,
        num_kv_heads=kv_heads,
        multiple_of=16,
        cross_attention_dim=TEXT,
        learn_sigma=learn_sigma,
    )
    weights = random_weights(model.state_dict(), seed)
    generator = torch.Generator().manual_seed(seed)
    for layer in range(LAYERS):
        weights[f"layers.{layer}.gate"] = torch.randn(HEADS, generator=generator)
        for name in ("to_q.weight", "norm_q.weight", "norm_q.bias"):
            weights[f"layers.{layer}.attn2.{name}"] = weights[f"layers.{layer}.attn1.{name}"].clone()
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def reference_velocity(
    model: LuminaNextDiT2DModel,
    x: torch.Tensor,
    t: float,
    text: torch.Tensor,
    mask: torch.Tensor,
    scaled: bool = False,
    proportional: bool = False,
) -> torch.Tensor:
    """What diffusers' pipeline takes for the velocity of latents x (B, C, H, W) at flow time t."""
    height, width = x.shape[2:]
    factor = math.sqrt(height * width) / SIDE if scaled else 1.0
    linear, ntk = (factor, 1.0) if t < WATERSHED else (1.0, factor)
    rope = get_2d_rotary_pos_embed_lumina(DIM // HEADS, 384, 384, linear_factor=linear, ntk_factor=ntk)
    options = {"base_sequence_length": (SIDE // 2) ** 2} if proportional else {}
    out = model(x, torch.full((len(x),), t), text, mask.int(), rope, options, return_dict=False)[0]
    return out[:, :CHANNELS]
