"""The host's layer classes, attention and dtypes as the core's ``Ops``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.ops
import torch
from comfy.ldm.modules.attention import optimized_attention

from ...lumina_core.network import cpu_kernels
from ...lumina_core.network.attention import repeat_heads
from ...lumina_core.network.cpu_kernels import plain_float32
from ...lumina_core.network.ops import Ops

_FP8 = tuple(
    getattr(torch, name) for name in ("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu") if hasattr(torch, name)
)


def host_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None = None,
    transformer_options: dict | None = None,
) -> torch.Tensor:
    """The host's attention with the signature of ``lumina_core.network.ops.Attention``.

    Args:
        q: (B, heads, L, head_dim).
        k, v: (B, kv_heads, S, head_dim).
        mask: bool (B, S), True where a key counts; None if all do.
        transformer_options: of the run, for attention patches of other nodes.

    Returns:
        (B, L, heads * head_dim).
    """
    heads = q.shape[1]
    if mask is not None:
        # Not every attention backend of the host takes a bool mask; all take an additive one.
        added = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, torch.finfo(q.dtype).min)
        mask = added[:, None, None, :].expand(-1, -1, q.shape[2], -1)
    return optimized_attention(
        q,
        repeat_heads(k, heads),
        repeat_heads(v, heads),
        heads,
        mask=mask,
        skip_reshape=True,
        transformer_options=transformer_options or {},
    )


def _in_run_dtype(layer: torch.nn.Module, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Weights may be offloaded, quantized or patched; only the host's own layer can resolve that.
    return layer(x.to(dtype)).float()


def _faster(base: Any, compute: Callable[[Any, torch.Tensor], torch.Tensor]) -> Any:
    """A subclass of a host layer that uses the core's CPU kernels where the host would run the plain operation."""

    class Faster(base):
        def forward(self, x):
            patched = self.comfy_cast_weights or self.weight_function or self.bias_function
            if not patched and self.weight is not None and plain_float32(x, self.weight):
                return compute(self, x)
            return super().forward(x)

    return Faster


def host_ops(operations) -> Ops:
    """The core's ``Ops`` from an operations class of the host (``comfy.ops``)."""
    if comfy.model_management.get_torch_device().type == "cpu":
        cpu_kernels.keep_freed_memory()
    linear = operations.Linear
    if cpu_kernels.HAS_ONEDNN:
        linear = _faster(linear, lambda layer, x: cpu_kernels.linear(x, layer.weight, layer.bias))
    return Ops(
        linear=linear,
        layer_norm=operations.LayerNorm,
        rms_norm=_faster(operations.RMSNorm, lambda layer, x: cpu_kernels.rms_norm(x, layer.weight, layer.eps)),
        attention=host_attention,
        cast=comfy.ops.cast_to_input,
        fp32_linear=_in_run_dtype,
    )


def run_dtype(weights: torch.dtype, cast: torch.dtype | None) -> torch.dtype:
    """The dtype to which t is rounded, as the official sampler does in that precision.

    Args:
        weights: dtype of the weights. Half-precision weights make a half-precision run even if the host computes in
            float32; fp8 weights count as bf16.
        cast: dtype in which the host computes; None is that of the weights.
    """
    for dtype in (weights, cast):
        if dtype in (torch.bfloat16, torch.float16):
            return dtype
    return torch.bfloat16 if weights in _FP8 else torch.float32
