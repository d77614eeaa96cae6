"""Synchformer's visual encoder: short pieces of a video to a feature for every 80 ms, which tells what moves when.

A vision transformer with divided attention (MotionFormer), as in v-iashin/Synchformer. The parameters carry the
released names and shapes, so a released file loads strict.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import LuminaError

SEGMENT = 16
"""Frames of a segment, at 25 a second."""
STRIDE = 8
"""Frames from one segment to the next: half of each segment is seen twice."""
TUBE = 2
"""Frames of a token, and so of a feature."""
SLOTS = SEGMENT // TUBE
"""Features of a segment."""
_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """Sizes of the encoder; the defaults are the released ones.

    Args:
        width: of the features, and of every token.
        layers: blocks; attention over the sites of a frame follows them.
        heads: of every attention.
        mlp: hidden width of the feedforward layers.
        side: of the square frames in pixels.
        patch: pixels per side of a token.
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
                raise LuminaError(f"A sync encoder's {name} is {getattr(self, name)}; expected 1 or more.")
        if self.width % self.heads or self.side % self.patch:
            raise LuminaError(
                f"A sync encoder of width {self.width} with {self.heads} heads and {self.side} px frames in patches of "
                f"{self.patch} does not come out even; heads must divide the width and patches the frame."
            )

    @property
    def sites(self) -> int:
        """Tokens of a frame."""
        return (self.side // self.patch) ** 2


class SyncEncoder(nn.Module):
    """Segments of 16 frames to 8 features each."""

    def __init__(self, config: SyncConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.sites, width))
        self.temp_embed = nn.Parameter(torch.zeros(1, SLOTS, width))
        # Of the still-image network that training began with: in every released file, and never run.
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, config.patch, config.patch)})
        tube = (TUBE, config.patch, config.patch)
        self.patch_embed_3d = nn.ModuleDict({"proj": nn.Conv3d(3, width, tube, tube)})
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.spatial_attn_agg = _FrameSummary(config)

    def forward(self, segments: torch.Tensor) -> torch.Tensor:
        """Segments (B, S, 3, 16, side, side) in -1..1 to features (B, S, 8, width). Raises LuminaError for others."""
        side = self.config.side
        if segments.ndim != 6 or tuple(segments.shape[2:]) != (3, SEGMENT, side, side):
            raise LuminaError(
                f"The sync encoder got segments of shape {tuple(segments.shape)}, expected (clips, segments, 3, "
                f"{SEGMENT}, {side}, {side})."
            )
        x = self._tokens(segments.flatten(0, 1))
        for block in self.blocks:
            x = block(x)
        patches = self.norm(x[:, 1:])
        features = self.spatial_attn_agg(patches.reshape(-1, self.config.sites, self.config.width))
        return features.view(*segments.shape[:2], SLOTS, self.config.width)

    def _tokens(self, segments: torch.Tensor) -> torch.Tensor:
        """(N, 3, 16, side, side) to the class token and all patches, frame after frame: (N, 1 + 8 * sites, width)."""
        patches = self.patch_embed_3d["proj"](segments).flatten(3).permute(0, 2, 3, 1)
        patches = patches + self.pos_embed[:, None, 1:] + self.temp_embed[:, :, None]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([first, patches.flatten(1, 2)], dim=1)


class _Block(nn.Module):
    """Attention over time, over space, and a feedforward layer, each behind its norm and added."""

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
    """A patch sees the class token and its group: the same site in all frames, or all sites of its frame.

    The class token sees everything.
    """

    def __init__(self, config: SyncConfig, over_time: bool):
        super().__init__()
        self.heads, self.over_time = config.heads, over_time
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, 1 + 8 * sites, width)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        first = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        # Heads go with the batch and groups take their place: the fast kernels want four axes.
        groups = self._groups(q).flatten(0, 1)
        rest = F.scaled_dot_product_attention(groups, *(self._seen(part).flatten(0, 1) for part in (k, v)))
        rest = rest.unflatten(0, q.shape[:2])
        rest = (rest.transpose(2, 3) if self.over_time else rest).flatten(2, 3)
        return self.proj(torch.cat([first, rest], dim=2).transpose(1, 2).flatten(2))

    def _groups(self, tokens: torch.Tensor) -> torch.Tensor:
        """The patches of (N, heads, 1 + 8 * sites, d) as (N, heads, groups, tokens of a group, d)."""
        frames = tokens[:, :, 1:].unflatten(2, (SLOTS, -1))
        return frames.transpose(2, 3) if self.over_time else frames

    def _seen(self, tokens: torch.Tensor) -> torch.Tensor:
        """The groups, each behind the class token."""
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


class _FrameSummary(nn.TransformerEncoderLayer):
    """All patches of a frame to one feature, which is what a class token of its own gathers from them."""

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
        """(N, sites, width) to (N, width)."""
        return super().forward(torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1))[:, 0]
