"""Lumina-Next's image network: the video network with one patch size, two interleaved axes and no motion score.

Source: Lumina-T2X, lumina_next_t2i/models/model.py; equal to diffusers' LuminaNextDiT2DModel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from torch import nn

from ..errors import LuminaError
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize
from .block import FinalLayer
from .config import VideoConfig
from .embeddings import ScalarEmbedder, TextEmbedder
from .next_dit import NextDiT
from .ops import TORCH_OPS, Ops
from .patchify import unpatchify
from .rope import FreqsCis, interleave


@dataclass(frozen=True, kw_only=True)
class ImageConfig(VideoConfig):
    """The image network of Lumina-Next. Defaults are those of Lumina-Next-T2I and -SFT.

    Fields that are not listed are those of ``VideoConfig``. An image is a video of one latent frame.

    Args:
        learn_sigma: the output has twice the channels; the second half, a variance that flow matching does not use,
            is dropped.
        guided_channels: number of channels that guidance changes; the others follow the prompt alone, as in the
            released sampler (3 of 4). None is all.

    Raises:
        LuminaError: heads of a wrong width.
    """

    vae_hint: ClassVar[str] = "that of SDXL has 4"
    text_hint: ClassVar[str] = "Gemma-2B, the first one, is 2048 wide"

    patches: tuple[PatchSize, ...] = (PatchSize(1, 2),)
    channels: int = 4
    heads: int = 32
    text_dim: int = 2048
    rope_theta: float = 10000.0
    t_scale: float = 1.0
    train_size: LatentSize | None = LatentSize(1, 128, 128)
    learn_sigma: bool = True
    guided_channels: int | None = None

    def __post_init__(self) -> None:
        if self.block.head_dim % 4:
            raise LuminaError(
                f"Heads are {self.block.head_dim} wide; 2-axis RoPE needs dim / heads to be a multiple of 4.",
                field="heads",
                kind="value",
            )

    def check_size(self, size: LatentSize, patches: Iterable[PatchSize]) -> None:
        """Raise LuminaError unless ``size`` is that of an image and the patch size divides it."""
        if size.frames != 1:
            raise LuminaError(
                f"The latents have {size.frames} frames; this checkpoint makes images, so use 1.",
                field="frames",
                kind="value",
            )
        super().check_size(size, patches)

    @property
    def rope_axes(self) -> tuple[int, int, int]:
        """Parts of the head width that encode frames, height and width."""
        half = self.block.head_dim // 2
        return 0, half, half


class ImageNextDiT(NextDiT):
    """Predicts the velocity of a latent image (B, C, 1, H, W), conditioned on text."""

    config: ImageConfig

    def __init__(self, config: ImageConfig, ops: Ops = TORCH_OPS, device=None, dtype=None):
        super().__init__(config, ops)
        where = {"device": device, "dtype": dtype}
        self.t_embedder = ScalarEmbedder(config.cond_dim, ops, **where)
        self.cap_embedder = TextEmbedder(config.text_dim, config.cond_dim, ops, **where)
        self.layers = self.make_blocks(device, dtype)
        self.pad_token = nn.Parameter(torch.zeros(config.dim, **where))
        elements = config.patches[0].space ** 2 * config.channels
        self.x_embedder = ops.linear(elements, config.dim, **where)
        out = elements * 2 if config.learn_sigma else elements
        self.final_layer = FinalLayer(config.dim, config.cond_dim, out, ops, **where)

    def patch_embed(self, x: torch.Tensor, patch: PatchSize) -> torch.Tensor:
        """Latents (B, C, 1, H, W) -> tokens (B, L, dim). A patch vector runs over (channel, height, width) here."""
        p = patch.space
        return self.x_embedder(rearrange(x, "b c f (h p) (w q) -> b (f h w) (c p q)", p=p, q=p))

    def unpatch(
        self, tokens: torch.Tensor, cond: torch.Tensor, patch: PatchSize, size: LatentSize, ops: Ops
    ) -> torch.Tensor:
        """Tokens -> latents, without the variance; a patch vector runs over (height, width, channel) here."""
        x = unpatchify(self.final_layer(tokens, cond, ops), patch, (size.frames, size.height, size.width))
        return x[:, : self.config.channels]

    def arrange_axes(self, freqs: FreqsCis) -> FreqsCis:
        """Interleave height and width along a head."""
        return interleave(freqs, 2)
