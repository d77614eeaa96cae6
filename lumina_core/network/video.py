"""Multi-scale Next-DiT: one backbone, with an input and an output layer per patch size (paper section 3.2)."""

from __future__ import annotations

import torch
from torch import nn

from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize
from .block import FinalLayer
from .config import VideoConfig
from .embeddings import ScalarEmbedder, TextEmbedder
from .next_dit import NextDiT
from .ops import TORCH_OPS, Ops
from .patchify import patchify, unpatchify
from .rope import FreqsCis
from .text_cache import ConditioningCache


class MultiScaleNextDiT(NextDiT):
    """Predicts the velocity of a latent video (B, C, F, H, W), conditioned on text and a motion score."""

    def __init__(self, config: VideoConfig, ops: Ops = TORCH_OPS, device=None, dtype=None):
        super().__init__(config, ops)
        where = {"device": device, "dtype": dtype}
        self.all_x_embedder = nn.ModuleDict()
        self.all_final_layer = nn.ModuleDict()
        for patch in config.patches:
            elements = patch.frames * patch.space**2 * config.channels
            self.all_x_embedder[patch.key] = ops.linear(elements, config.dim, **where)
            self.all_final_layer[patch.key] = FinalLayer(config.dim, config.cond_dim, elements, ops, **where)
        self.t_embedder = ScalarEmbedder(config.cond_dim, ops, **where)
        self.motion_embedder = ScalarEmbedder(config.cond_dim, ops, **where)
        self.cap_embedder = TextEmbedder(config.text_dim, config.cond_dim, ops, **where)
        self.layers = self.make_blocks(device, dtype)
        # Not used, but part of every released checkpoint, which is loaded strictly.
        self.pad_token = nn.Parameter(torch.zeros(config.dim, **where))

    def condition(
        self, t: torch.Tensor, text: ConditioningCache, motion: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        """Sum of the embeddings of t, pooled text and motion score (negative: none), (B, 1, A) float32."""
        score = motion * self.config.motion_scale
        moved = self.motion_embedder(score.clamp(min=0), dtype)
        # Without a score the embedding is zero, which differs from the embedding of score 0.
        moved = moved.masked_fill((score < 0)[:, None], 0)
        return super().condition(t, text, motion, dtype) + moved[:, None, :]

    def patch_embed(self, x: torch.Tensor, patch: PatchSize) -> torch.Tensor:
        """Latents -> tokens (B, L, dim) by the layer of the patch size; an image is repeated along a temporal patch."""
        return self.all_x_embedder[patch.key](patchify(x, patch))

    def unpatch(
        self, tokens: torch.Tensor, cond: torch.Tensor, patch: PatchSize, size: LatentSize, ops: Ops
    ) -> torch.Tensor:
        """Tokens -> latents by the layer of the patch size."""
        tokens = self.all_final_layer[patch.key](tokens, cond, ops)
        return unpatchify(tokens, patch, (size.frames, size.height, size.width))

    def arrange_axes(self, freqs: FreqsCis) -> FreqsCis:
        """The axes follow one another, so the table is unchanged."""
        return freqs
