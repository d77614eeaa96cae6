"""Configurations of the video network and of the block that all networks share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ..errors import LuminaError
from ..shapes.latents import LATENT_CHANNELS, LatentSize
from ..shapes.schedules import PatchSize


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Sizes of one Next-DiT block.

    Args:
        dim: token width.
        heads: query heads.
        kv_heads: key and value heads; query head h uses head ``h // (heads // kv_heads)``.
        ffn_hidden: hidden width of the gated feed-forward layer.
        context_dim: width of the context of the gated cross-attention (text, or visual and text tokens).
        cond_dim: width of the conditioning vector.
        qk_norm: LayerNorm over all heads together on queries and keys.
        norm_eps: epsilon of the RMSNorms.

    Raises:
        LuminaError: widths and heads that do not divide each other.
    """

    dim: int
    heads: int
    kv_heads: int
    ffn_hidden: int
    context_dim: int
    cond_dim: int
    qk_norm: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.heads % self.kv_heads:
            raise LuminaError(
                f"The network has width {self.dim}, {self.heads} heads and {self.kv_heads} key/value heads; "
                "each must be a multiple of the next.",
                field="heads",
                kind="value",
            )

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.dim // self.heads


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """The Multi-scale Next-DiT. Defaults are the released model's (paper section 3, official train.sh).

    Args:
        patches: every patch size that the checkpoint has layers for.
        channels: of the latents.
        dim: token width.
        layers: number of blocks.
        heads: query heads.
        kv_heads: key and value heads.
        ffn_hidden: hidden width of the feed-forward layer.
        text_dim: width of the text features.
        cond_dim: width of the conditioning vector.
        qk_norm: LayerNorm on queries and keys.
        norm_eps: epsilon of the RMSNorms.
        rope_theta: base of the rotary frequencies.
        t_scale: factor on t before its embedding.
        motion_scale: factor on the motion score before its embedding.
        latent_rgb: for previews, red, green and blue of each latent channel, and optionally one more row for latents
            of zeros; None if not known.
        train_size: latent size of the largest clips that the weights were trained on; None if not known.

    Raises:
        LuminaError: sizes that do not divide each other, no patch size, or a wrong number of ``latent_rgb`` rows.
    """

    # Which VAE and which text encoder fit, for messages.
    vae_hint: ClassVar[str] = "that of CogVideoX-2b has 16"
    text_hint: ClassVar[str] = "Gemma-2-2B is 2304 wide"
    # How many channels guidance changes, from the first; None is all.
    guided_channels: ClassVar[int | None] = None

    patches: tuple[PatchSize, ...] = (PatchSize(1, 2), PatchSize(2, 2), PatchSize(2, 4))
    channels: int = LATENT_CHANNELS
    dim: int = 2304
    layers: int = 24
    heads: int = 16
    kv_heads: int = 8
    ffn_hidden: int = 6144
    text_dim: int = 2304
    cond_dim: int = 1024
    qk_norm: bool = True
    norm_eps: float = 1e-5
    rope_theta: float = 256.0
    t_scale: float = 1000.0
    motion_scale: float = 20.0
    latent_rgb: tuple[tuple[float, float, float], ...] | None = None
    train_size: LatentSize | None = None

    def __post_init__(self) -> None:
        if not self.patches:
            raise LuminaError(
                "The network has no patch size; it needs at least one, such as 1x2.", field="patches", kind="value"
            )
        if self.block.head_dim % 16:
            raise LuminaError(
                f"Heads are {self.block.head_dim} wide; 3-axis RoPE needs dim / heads to be a multiple of 16.",
                field="heads",
                kind="value",
            )
        if self.latent_rgb is not None and len(self.latent_rgb) not in (self.channels, self.channels + 1):
            raise LuminaError(
                f"latent_rgb has {len(self.latent_rgb)} rows; write one for each of {self.channels} channels.",
                field="latent_rgb",
                kind="value",
            )

    @property
    def block(self) -> BlockConfig:
        """Sizes of a block."""
        return BlockConfig(
            dim=self.dim,
            heads=self.heads,
            kv_heads=self.kv_heads,
            ffn_hidden=self.ffn_hidden,
            context_dim=self.text_dim,
            cond_dim=self.cond_dim,
            qk_norm=self.qk_norm,
            norm_eps=self.norm_eps,
        )

    @property
    def rope_axes(self) -> tuple[int, int, int]:
        """Parts of the head width that encode frames, height and width: 2, 3 and 3 eighths."""
        eighth = self.block.head_dim // 8
        return 2 * eighth, 3 * eighth, 3 * eighth

    def check_patch(self, patch: PatchSize) -> None:
        """Raise LuminaError unless the network has layers for ``patch``."""
        if patch not in self.patches:
            have = ", ".join(str(p) for p in self.patches)
            raise LuminaError(
                f"Patch size {patch} is not in this checkpoint, which has {have}; use one of these.",
                field="patch",
                kind="value",
            )

    def check_size(self, size: LatentSize, patches: Iterable[PatchSize]) -> None:
        """Raise LuminaError unless the network has every patch size and each divides ``size``."""
        patches = tuple(patches)
        for patch in patches:
            self.check_patch(patch)
        size.check_all(patches)

    def check_channels(self, channels: int) -> None:
        """Raise LuminaError unless latents with this number of channels, which the VAE determines, fit."""
        if channels != self.channels:
            raise LuminaError(
                f"The latents have {channels} channels, and this checkpoint's {self.channels}; use the VAE that "
                f"it was trained with ({self.vae_hint}).",
                field="vae",
                kind="mismatch",
            )

    def check_text_width(self, width: int) -> None:
        """Raise LuminaError unless text features of this width fit."""
        if width != self.text_dim:
            raise LuminaError(
                f"The text features are {width} wide, and this checkpoint reads {self.text_dim}; use the text encoder "
                f"that it was trained with ({self.text_hint}).",
                field="text_encoder",
                kind="mismatch",
            )
