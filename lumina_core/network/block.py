"""The Next-DiT block that video, image and audio share. Parameter names are the published ones.

Letters: B batch, L tokens, R rows with a conditioning vector of their own (1 for video and image, one per time step
for audio; R divides L), H query heads, D width, S context tokens, A conditioning width.
Source: paper section 3.1 and appendix D; official models/model.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .config import BlockConfig
from .context_drop import KeyPool
from .cpu_kernels import gated_linear, norm_and_factor
from .ops import Ops
from .rope import Rotation, rotate
from .text_cache import KeysValues

FEED_FORWARD_TOKENS = {"cpu": 1024}
"""Tokens that a feed-forward takes at a time: on a CPU as many as fit its cache,"""
MANY_TOKENS = 16384
"""elsewhere enough to keep the device busy, so that its wide hidden layer does not set the peak of memory."""


def scaled_norm(norm: nn.Module, x_BLD: torch.Tensor, scale_BRD: torch.Tensor) -> torch.Tensor:
    """``norm(x) * (1 + scale)``, each row's scale over that row's tokens.

    Broadcasting keeps video (R = 1) from copying one vector per token.
    """
    normed, factor = norm_and_factor(norm, x_BLD, 1 + scale_BRD)
    rows, factor = normed.unflatten(1, (factor.shape[1], -1)), factor.unsqueeze(2)
    return (rows * factor if torch.is_grad_enabled() else rows.mul_(factor)).flatten(1, 2)


def add_gated_norm(
    norm: nn.Module, x_BLD: torch.Tensor, update_BLD: torch.Tensor, gate_BRD: torch.Tensor
) -> torch.Tensor:
    """``x + norm(update) * tanh(gate)``, each row's gate over that row's tokens; into x where gradients are off."""
    normed, factor = norm_and_factor(norm, update_BLD, gate_BRD.tanh())
    x, update = (tensor.unflatten(1, (factor.shape[1], -1)) for tensor in (x_BLD, normed))
    factor = factor.unsqueeze(2)
    return (torch.addcmul(x, update, factor) if torch.is_grad_enabled() else x.addcmul_(update, factor)).flatten(1, 2)


class Attention(nn.Module):
    """Self-attention with rotary positions, plus gated cross-attention to the context by the same queries.

    Two softmaxes, added: ``self + tanh(gate[head]) * cross``. Context keys carry no position.
    """

    def __init__(self, config: BlockConfig, ops: Ops, device=None, dtype=None):
        super().__init__()
        self.heads, self.kv_heads, self.ops = config.heads, config.kv_heads, ops
        kv_dim = config.kv_heads * config.head_dim
        where = {"device": device, "dtype": dtype}
        self.wq = ops.linear(config.dim, config.dim, bias=False, **where)
        self.wk = ops.linear(config.dim, kv_dim, bias=False, **where)
        self.wv = ops.linear(config.dim, kv_dim, bias=False, **where)
        self.wk_y = ops.linear(config.context_dim, kv_dim, bias=False, **where)
        self.wv_y = ops.linear(config.context_dim, kv_dim, bias=False, **where)
        self.gate = nn.Parameter(torch.zeros(config.heads, **where))
        self.wo = ops.linear(config.dim, config.dim, bias=False, **where)
        # The norm runs over all heads together, before they are split.
        self.q_norm = ops.layer_norm(config.dim, **where) if config.qk_norm else nn.Identity()
        self.k_norm = ops.layer_norm(kv_dim, **where) if config.qk_norm else nn.Identity()
        self.ky_norm = ops.layer_norm(kv_dim, **where) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x_BLD: torch.Tensor,
        rope: Rotation,
        context: KeysValues,
        mask_BS: torch.Tensor | None,
        attend,
        key_scale: float = 1.0,
        pool: KeyPool | None = None,
    ) -> torch.Tensor:
        q = rotate(self._split(self.q_norm(self.wq(x_BLD))), rope).transpose(1, 2)
        key_rope = rope if pool is None else pool.rope
        k = rotate(self._split(self.k_norm(self.wk(x_BLD)), pool), key_rope).transpose(1, 2)
        if key_scale != 1:
            # Not every attention takes a scale, and the context's scores, of the same queries, stay as they are.
            k = k * key_scale if torch.is_grad_enabled() else k.mul_(key_scale)
        v = self._split(self.wv(x_BLD), pool).transpose(1, 2)
        out = attend(q, k, v, None)
        del k, v  # before the cross-attention asks for memory
        cross = attend(q, *context, mask_BS)
        gate = self.ops.cast(self.gate, cross).tanh().repeat_interleave(cross.shape[-1] // self.heads)
        return self.wo(torch.addcmul(out, cross, gate) if torch.is_grad_enabled() else out.addcmul_(cross, gate))

    def context_keys_values(self, context_BSD: torch.Tensor) -> KeysValues:
        """Keys and values of the context, which are the same at every step of a run."""
        k = self._split(self.ky_norm(self.wk_y(context_BSD))).transpose(1, 2)
        return k, self._split(self.wv_y(context_BSD)).transpose(1, 2)

    def _split(self, x_BLD: torch.Tensor, pool: KeyPool | None = None) -> torch.Tensor:
        head_dim = self.wq.weight.shape[0] // self.heads
        return (x_BLD if pool is None else pool(x_BLD)).unflatten(-1, (-1, head_dim))


class FeedForward(nn.Module):
    """``w2(silu(w1 x) * w3 x)``; where no gradient is asked for, a part of the tokens at a time and written into x."""

    def __init__(self, dim: int, hidden: int, ops: Ops, device=None, dtype=None):
        super().__init__()
        self.w1 = ops.linear(dim, hidden, bias=False, device=device, dtype=dtype)
        self.w2 = ops.linear(hidden, dim, bias=False, device=device, dtype=dtype)
        self.w3 = ops.linear(dim, hidden, bias=False, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            return self.w2(F.silu(self.w1(x)) * self.w3(x))
        # For a compiler, a loop over parts would be one graph per number of parts, and it fuses these anyway.
        most = FEED_FORWARD_TOKENS.get(x.device.type, MANY_TOKENS)
        if torch.compiler.is_compiling() or x.shape[:-1].numel() <= most:
            return self.w2(gated_linear(x, self.w1, self.w3))
        for part in x.view(-1, x.shape[-1]).split(most):
            part.copy_(self.w2(gated_linear(part, self.w1, self.w3)))
        return x


class Modulation(nn.Sequential):
    """Conditioning (B, R, A) float32 -> scales and gates (B, R, width) in the tokens' dtype."""

    def __init__(self, cond_dim: int, width: int, ops: Ops, device=None, dtype=None):
        super().__init__(nn.SiLU(), ops.linear(cond_dim, width, device=device, dtype=dtype))
        self.ops = ops

    def forward(self, cond_BRA: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return self.ops.precise(self[1], self[0](cond_BRA), dtype).to(dtype)


class NextDiTBlock(nn.Module):
    """Sandwich-normed attention and feed-forward, each with a scale before and a tanh gate behind.

    ``x += tanh(gate) * norm2(f(norm1(x) * (1 + scale)))``; chunk order scale, gate, scale, gate; no shift.
    """

    def __init__(self, config: BlockConfig, ops: Ops, device=None, dtype=None):
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.attention = Attention(config, ops, **where)
        self.feed_forward = FeedForward(config.dim, config.ffn_hidden, ops, **where)
        for name in ("attention_norm1", "ffn_norm1", "attention_norm2", "ffn_norm2"):
            setattr(self, name, ops.rms_norm(config.dim, eps=config.norm_eps, **where))
        self.adaLN_modulation = Modulation(config.cond_dim, 4 * config.dim, ops, **where)
        self.attention_y_norm = ops.rms_norm(config.context_dim, eps=config.norm_eps, **where)

    def forward(
        self,
        x_BLD: torch.Tensor,
        rope: Rotation,
        context: torch.Tensor | KeysValues,
        mask_BS: torch.Tensor | None,
        cond_BRA: torch.Tensor,
        attend,
        key_scale: float = 1.0,
        pool: KeyPool | None = None,
    ) -> torch.Tensor:
        """Tokens like ``x_BLD``, which is overwritten where no gradient is asked for.

        Args:
            context: features (B, S, context_dim), or what ``context_keys_values`` made of them.
            mask_BS: True where a context token counts, None when all do.
            key_scale: factor on the keys, and so on the scores, of self-attention.
            pool: where keys and values of self-attention are pooled, None where each token has its own.
        """
        if isinstance(context, torch.Tensor):
            context = self.context_keys_values(context)
        scale_msa, gate_msa, scale_mlp, gate_mlp = self.adaLN_modulation(cond_BRA, x_BLD.dtype).chunk(4, dim=-1)
        out = self.attention(
            scaled_norm(self.attention_norm1, x_BLD, scale_msa), rope, context, mask_BS, attend, key_scale, pool
        )
        x_BLD = add_gated_norm(self.attention_norm2, x_BLD, out, gate_msa)
        del out
        out = self.feed_forward(scaled_norm(self.ffn_norm1, x_BLD, scale_mlp))
        return add_gated_norm(self.ffn_norm2, x_BLD, out, gate_mlp)

    def context_keys_values(self, context_BSD: torch.Tensor) -> KeysValues:
        """Keys and values of the context's features, for a caller that keeps them from step to step."""
        return self.attention.context_keys_values(self.attention_y_norm(context_BSD))


class FinalLayer(nn.Module):
    """Scaled LayerNorm (no affine) and a linear layer from tokens to patches."""

    def __init__(self, dim: int, cond_dim: int, out_dim: int, ops: Ops, device=None, dtype=None):
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.norm_final = ops.layer_norm(dim, elementwise_affine=False, eps=1e-6, **where)
        self.linear = ops.linear(dim, out_dim, **where)
        self.adaLN_modulation = Modulation(cond_dim, dim, ops, **where)

    def forward(self, x_BLD: torch.Tensor, cond_BRA: torch.Tensor) -> torch.Tensor:
        return self.linear(scaled_norm(self.norm_final, x_BLD, self.adaLN_modulation(cond_BRA, x_BLD.dtype)))
