"""The Next-DiT block of the video, image and audio networks. Parameter names are the published ones.

Letters: B batch, L tokens, R conditioning vectors (1 for video and image, one per time step for audio; each is for
L / R consecutive tokens), H query heads, D width, S context tokens, A conditioning width.
Source: paper section 3.1 and appendix D; official models/model.py.
"""

from __future__ import annotations

import torch
from torch import nn

from .config import BlockConfig
from .context_drop import KeyPool
from .ops import Ops
from .rope import FreqsCis
from .text_cache import KeysValues


class Attention(nn.Module):
    """Self-attention with RoPE, plus gated cross-attention to the context with the same queries.

    The results of two softmaxes are added: ``self + tanh(gate[head]) * cross``. Context keys have no RoPE.
    """

    def __init__(self, config: BlockConfig, ops: Ops, device=None, dtype=None):
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
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
        freqs: FreqsCis,
        context: KeysValues,
        mask_BS: torch.Tensor | None,
        ops: Ops,
        key_scale: float = 1.0,
        pool: KeyPool | None = None,
    ) -> torch.Tensor:
        """``wo(self_attention + tanh(gate) * cross_attention)``, (B, L, D); for the arguments see ``NextDiTBlock``."""
        q = ops.rotate(self._split(self.q_norm(self.wq(x_BLD))), freqs).transpose(1, 2)
        key_freqs = freqs if pool is None else pool.freqs
        k = ops.rotate(self._split(self.k_norm(self.wk(x_BLD)), pool), key_freqs).transpose(1, 2)
        if key_scale != 1:
            # Scale the keys: not every attention takes a scale, and the queries are the cross-attention's too.
            k = k * key_scale
        v = self._split(self.wv(x_BLD), pool).transpose(1, 2)
        out = ops.attention(q, k, v, None)
        del k, v  # before the cross-attention asks for memory
        cross = ops.attention(q, *context, mask_BS)
        gate = ops.cast(self.gate, cross).tanh().repeat_interleave(cross.shape[-1] // self.heads)
        return self.wo(ops.addcmul(out, cross, gate))

    def context_keys_values(self, context_BSD: torch.Tensor) -> KeysValues:
        """Keys and values (B, kv_heads, S, head_dim) of the context, which are the same at every step of a run."""
        k = self._split(self.ky_norm(self.wk_y(context_BSD))).transpose(1, 2)
        return k, self._split(self.wv_y(context_BSD)).transpose(1, 2)

    def _split(self, x_BLD: torch.Tensor, pool: KeyPool | None = None) -> torch.Tensor:
        """(B, L, heads * head_dim) -> (B, L, heads, head_dim), after pooling the tokens if there is a pool."""
        return (x_BLD if pool is None else pool(x_BLD)).unflatten(-1, (-1, self.head_dim))


class FeedForward(nn.Module):
    """SwiGLU feed-forward layer: ``w2(silu(w1 x) * w3 x)``."""

    def __init__(self, dim: int, hidden: int, ops: Ops, device=None, dtype=None):
        super().__init__()
        self.w1 = ops.linear(dim, hidden, bias=False, device=device, dtype=dtype)
        self.w2 = ops.linear(hidden, dim, bias=False, device=device, dtype=dtype)
        self.w3 = ops.linear(dim, hidden, bias=False, device=device, dtype=dtype)

    def forward(self, x_BLD: torch.Tensor, ops: Ops) -> torch.Tensor:
        """Tokens (B, L, D); ``x_BLD`` may be overwritten."""
        return ops.swiglu(self.w1, self.w3, self.w2, x_BLD)


class Modulation(nn.Sequential):
    """The adaLN layer: SiLU and a linear layer from the conditioning to scales and gates."""

    def __init__(self, cond_dim: int, width: int, ops: Ops, device=None, dtype=None):
        super().__init__(nn.SiLU(), ops.linear(cond_dim, width, device=device, dtype=dtype))
        self.ops = ops

    def forward(self, cond_BRA: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Conditioning (B, R, A) float32 -> scales and gates (B, R, width) in ``dtype``."""
        return self.ops.fp32_linear(self[1], self[0](cond_BRA), dtype).to(dtype)


class NextDiTBlock(nn.Module):
    """Attention and feed-forward, each with a pre-norm scaled by adaLN and a post-norm gated by tanh.

    ``x += tanh(gate) * norm2(f(norm1(x) * (1 + scale)))``. The chunks of the modulation are scale and gate of the
    attention, then of the feed-forward. There is no shift.
    """

    def __init__(self, config: BlockConfig, ops: Ops, device=None, dtype=None):
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.attention = Attention(config, ops, **where)
        self.feed_forward = FeedForward(config.dim, config.ffn_hidden, ops, **where)
        self.attention_norm1 = ops.rms_norm(config.dim, eps=config.norm_eps, **where)
        self.ffn_norm1 = ops.rms_norm(config.dim, eps=config.norm_eps, **where)
        self.attention_norm2 = ops.rms_norm(config.dim, eps=config.norm_eps, **where)
        self.ffn_norm2 = ops.rms_norm(config.dim, eps=config.norm_eps, **where)
        self.adaLN_modulation = Modulation(config.cond_dim, 4 * config.dim, ops, **where)
        self.attention_y_norm = ops.rms_norm(config.context_dim, eps=config.norm_eps, **where)

    def forward(
        self,
        x_BLD: torch.Tensor,
        freqs: FreqsCis,
        context: torch.Tensor | KeysValues,
        mask_BS: torch.Tensor | None,
        cond_BRA: torch.Tensor,
        ops: Ops,
        key_scale: float = 1.0,
        pool: KeyPool | None = None,
    ) -> torch.Tensor:
        """Tokens (B, L, D).

        Args:
            x_BLD: tokens; may be overwritten.
            freqs: rotary table of the tokens.
            context: features (B, S, context_dim), or the result of ``context_keys_values`` for them.
            mask_BS: bool, True where a context token counts; None when all do.
            cond_BRA: conditioning, float32.
            ops: functions of this forward pass, see ``Ops.for_call``.
            key_scale: factor on the keys, and so on the scores, of self-attention.
            pool: pools the keys and values of self-attention (Context Drop); None gives each token its own.
        """
        if isinstance(context, torch.Tensor):
            context = self.context_keys_values(context)
        scale_msa, gate_msa, scale_mlp, gate_mlp = self.adaLN_modulation(cond_BRA, x_BLD.dtype).chunk(4, dim=-1)
        out = ops.modulate(self.attention_norm1, x_BLD, scale_msa)
        out = self.attention(out, freqs, context, mask_BS, ops, key_scale, pool)
        x_BLD = ops.add_gated(self.attention_norm2, x_BLD, out, gate_msa)
        del out  # before the feed-forward asks for memory
        out = self.feed_forward(ops.modulate(self.ffn_norm1, x_BLD, scale_mlp), ops)
        return ops.add_gated(self.ffn_norm2, x_BLD, out, gate_mlp)

    def context_keys_values(self, context_BSD: torch.Tensor) -> KeysValues:
        """Keys and values of context features (B, S, context_dim), for a caller that caches them for a run."""
        return self.attention.context_keys_values(self.attention_y_norm(context_BSD))


class FinalLayer(nn.Module):
    """LayerNorm without weights, scaled by adaLN, and a linear layer from tokens to patches."""

    def __init__(self, dim: int, cond_dim: int, out_dim: int, ops: Ops, device=None, dtype=None):
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.norm_final = ops.layer_norm(dim, elementwise_affine=False, eps=1e-6, **where)
        self.linear = ops.linear(dim, out_dim, **where)
        self.adaLN_modulation = Modulation(cond_dim, dim, ops, **where)

    def forward(self, x_BLD: torch.Tensor, cond_BRA: torch.Tensor, ops: Ops) -> torch.Tensor:
        """Patch vectors (B, L, out_dim) of tokens ``x_BLD``."""
        return self.linear(ops.modulate(self.norm_final, x_BLD, self.adaLN_modulation(cond_BRA, x_BLD.dtype)))
