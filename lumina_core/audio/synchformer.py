"""Synchformer's visual encoder: maps segments of a video to one feature per 80 ms, which encodes the timing of motion.

A vision transformer with divided space-time attention, as in v-iashin/Synchformer (model/modules/motionformer.py).
Parameters have the released names and shapes, so that a released file loads with ``strict=True``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import LuminaError
from ..shapes.audio_rates import SEGMENT, SLOTS, TUBE

_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """Sizes of the encoder; the defaults are the released ones.

    Args:
        width: width of the tokens and of the features.
        layers: number of blocks before the aggregation of each frame.
        heads: attention heads.
        mlp: hidden width of the feedforward layers.
        side: side of the square frames in pixels.
        patch: pixels per side of a token.

    Raises:
        LuminaError: a size is below 1, or heads and patches do not divide the width and the frame.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    side: int = 224
    patch: int = 16

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "mlp", "side", "patch"):
            if getattr(self, name) < 1:
                raise LuminaError(
                    f"The sync encoder's {name} is {getattr(self, name)}; expected 1 or more.", field=name, kind="value"
                )
        if self.width % self.heads or self.side % self.patch:
            raise LuminaError(
                f"The sync encoder has width {self.width}, {self.heads} heads and {self.side} px frames in patches of "
                f"{self.patch} px; heads must divide the width, and the patch must divide the frame.",
                field=None,
                kind="value",
            )

    @property
    def sites(self) -> int:
        """Tokens per frame."""
        return (self.side // self.patch) ** 2


class SyncEncoder(nn.Module):
    """Maps segments of 16 frames to 8 features each. Created by ``synchformer_loader.load_sync_encoder``."""

    def __init__(self, config: SyncConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.sites, width))
        self.temp_embed = nn.Parameter(torch.zeros(1, SLOTS, width))
        # The patch embedding of the image model that training started from: in every released file, but never used.
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, config.patch, config.patch)})
        tube = (TUBE, config.patch, config.patch)
        self.patch_embed_3d = nn.ModuleDict({"proj": nn.Conv3d(3, width, tube, tube)})
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.spatial_attn_agg = _FrameAggregation(config)

    def forward(self, segments: torch.Tensor) -> torch.Tensor:
        """Features (B, S, 8, width) of segments (B, S, 3, 16, side, side) in -1..1.

        Raises LuminaError for another shape.
        """
        side = self.config.side
        if segments.ndim != 6 or tuple(segments.shape[2:]) != (3, SEGMENT, side, side):
            raise LuminaError(
                f"The segments have shape {tuple(segments.shape)}, expected (clips, segments, 3, {SEGMENT}, {side}, "
                f"{side}).",
                field="segments",
                kind="value",
            )
        x = self._tokens(segments.flatten(0, 1))
        for block in self.blocks:
            x = block(x)
        patches = self.norm(x[:, 1:])
        features = self.spatial_attn_agg(patches.reshape(-1, self.config.sites, self.config.width))
        return features.view(*segments.shape[:2], SLOTS, self.config.width)

    def _tokens(self, segments: torch.Tensor) -> torch.Tensor:
        """Class token and patch tokens, ordered by frame: (N, 3, 16, side, side) to (N, 1 + 8 * sites, width)."""
        patches = self.patch_embed_3d["proj"](segments).flatten(3).permute(0, 2, 3, 1)
        patches = patches + self.pos_embed[:, None, 1:] + self.temp_embed[:, :, None]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([first, patches.flatten(1, 2)], dim=1)


class _Block(nn.Module):
    """Pre-norm residual block: attention over time, attention over space, feedforward."""

    def __init__(self, config: SyncConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=_EPS)
        self.norm2 = nn.LayerNorm(config.width, eps=_EPS)
        self.norm3 = nn.LayerNorm(config.width, eps=_EPS)
        self.attn = _DividedAttention(config, over_time=False)
        self.timeattn = _DividedAttention(config, over_time=True)
        self.mlp = _Feedforward(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.timeattn(self.norm3(x))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _DividedAttention(nn.Module):
    """Divided attention: a patch attends to the class token and its group, the class token to everything.

    A group is the same site in all frames (over time), or all sites of one frame (over space).
    """

    def __init__(self, config: SyncConfig, over_time: bool):
        super().__init__()
        self.heads, self.over_time = config.heads, over_time
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attention output, same shape as x (N, 1 + 8 * sites, width)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        first = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        # Heads join the batch axis and groups take the head axis, because fused kernels need four axes.
        groups = self._groups(q).flatten(0, 1)
        keys, values = (self._attended(part).flatten(0, 1) for part in (k, v))
        rest = F.scaled_dot_product_attention(groups, keys, values)
        rest = rest.unflatten(0, q.shape[:2])
        rest = (rest.transpose(2, 3) if self.over_time else rest).flatten(2, 3)
        return self.proj(torch.cat([first, rest], dim=2).transpose(1, 2).flatten(2))

    def _groups(self, tokens: torch.Tensor) -> torch.Tensor:
        """The patches of (N, heads, 1 + 8 * sites, d) as (N, heads, groups, tokens per group, d)."""
        frames = tokens[:, :, 1:].unflatten(2, (SLOTS, -1))
        return frames.transpose(2, 3) if self.over_time else frames

    def _attended(self, tokens: torch.Tensor) -> torch.Tensor:
        """The groups, each with the class token prepended."""
        groups = self._groups(tokens)
        first = tokens[:, :, None, :1].expand(-1, -1, groups.shape[2], -1, -1)
        return torch.cat([first, groups], dim=3)


class _Feedforward(nn.Module):
    def __init__(self, config: SyncConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp)
        self.fc2 = nn.Linear(config.mlp, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _FrameAggregation(nn.TransformerEncoderLayer):
    """Aggregates the patches of a frame to one feature, the output of a separate class token."""

    def __init__(self, config: SyncConfig):
        super().__init__(
            config.width,
            config.heads,
            config.mlp,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=_EPS,
            batch_first=True,
            norm_first=True,
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Features (N, width) of patches (N, sites, width)."""
        return super().forward(torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1))[:, 0]
