"""Conditioning embeddings for adaLN: timestep, motion score and pooled text.

They are float32 in half-precision runs too: there is one vector per sample, and its rounding would affect every token.

Letters: B batch, S text tokens, D text width, A conditioning width.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from .ops import Ops

# Of the sinusoids of a scalar, as in the official code.
FREQUENCIES = 128
MAX_PERIOD = 10000.0


def sinusoid(values: torch.Tensor, frequencies: int = FREQUENCIES) -> torch.Tensor:
    """Cosines, then sines, of (L,) values, in float32: (L, 2 * frequencies).

    float32 as in the official code, where rounding of arguments near 1000 is the largest noise of a forward pass.
    """
    steps = torch.arange(frequencies, dtype=torch.float32, device=values.device)
    angles = values[:, None].float() * torch.exp(-math.log(MAX_PERIOD) * steps / frequencies)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class ScalarEmbedder(nn.Module):
    """Embeds one scalar per sample: sinusoids and a two-layer MLP."""

    def __init__(self, cond_dim: int, ops: Ops, device=None, dtype=None):
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.ops = ops
        self.mlp = nn.Sequential(
            ops.linear(2 * FREQUENCIES, cond_dim, **where), nn.SiLU(), ops.linear(cond_dim, cond_dim, **where)
        )

    def forward(self, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Values (B,) -> (B, A) float32; ``dtype`` is the run's."""
        hidden = self.ops.fp32_linear(self.mlp[0], sinusoid(values), dtype)
        return self.ops.fp32_linear(self.mlp[2], self.mlp[1](hidden), dtype)


class TextEmbedder(nn.Sequential):
    """Embeds the pooled text: LayerNorm and a linear layer."""

    def __init__(self, text_dim: int, cond_dim: int, ops: Ops, device=None, dtype=None):
        where = {"device": device, "dtype": dtype}
        super().__init__(ops.layer_norm(text_dim, **where), ops.linear(text_dim, cond_dim, **where))
        self.ops = ops

    def forward(self, pooled: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Pooled features (B, D) float32 -> (B, A) float32; ``dtype`` is the run's."""
        return self.ops.fp32_linear(self[1], self.ops.fp32_linear(self[0], pooled, dtype), dtype)


def masked_mean(features_BSD: torch.Tensor, mask_BS: torch.Tensor | None) -> torch.Tensor:
    """Mean over the tokens that count, (B, D) float32; values of masked tokens, even NaN, are ignored."""
    if mask_BS is None:
        return features_BSD.mean(dim=1, dtype=torch.float32)
    kept = features_BSD.masked_fill(~mask_BS[..., None], 0)
    return kept.sum(dim=1, dtype=torch.float32) / mask_BS.sum(dim=1, keepdim=True)
