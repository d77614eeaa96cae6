"""What a host may replace: layer classes, attention, and how a bare parameter meets an activation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

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


def _match(parameter: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return parameter.to(like)


def in_float32(layer: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``layer`` on x in float32, whatever its weights are stored in; returns float32."""
    parameters = {name: parameter.float() for name, parameter in layer.named_parameters()}
    with _without_autocast(x.device.type):
        return torch.func.functional_call(layer, parameters, (x.float(),))


def _without_autocast(device: str) -> AbstractContextManager:
    """Training in bf16 is under autocast, which would compute in bf16 after all."""
    within = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if within else nullcontext()


@dataclass(frozen=True)
class Ops:
    """Layer classes take torch's arguments plus ``device`` and ``dtype``. ``cast(parameter, like)`` brings a bare
    parameter to an activation's device and dtype. ``precise(layer, x, dtype)`` runs a layer of the conditioning, a row
    or few per item, as exactly as can be; ``dtype`` is the run's, the result float32."""

    linear: type[nn.Module] = nn.Linear
    layer_norm: type[nn.Module] = nn.LayerNorm
    rms_norm: type[nn.Module] = nn.RMSNorm
    attention: Attention = torch_attention
    cast: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _match
    precise: Callable[[nn.Module, torch.Tensor, torch.dtype], torch.Tensor] = in_float32


TORCH_OPS = Ops()
