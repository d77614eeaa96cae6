"""Attention over heads that share keys and values: flash-attn where it is installed, else the best that torch has.

Letters: B batch, H query heads, KV key/value heads, L queries, S keys, D head width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""``attention(q, k, v, mask)``: q (B, heads, L, head_dim), k and v (B, kv_heads, S, head_dim), mask None or bool
(B, S), True where a key may be read; returns (B, L, heads * head_dim)."""


def torch_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Scaled dot-product attention by torch's best backend; see ``Attention`` for shapes."""
    if mask is not None:
        mask = mask[:, None, None, :]
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).flatten(2)


def repeat_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, kv_heads, L, D) -> (B, heads, L, D); neighbouring query heads share one key/value head."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)
