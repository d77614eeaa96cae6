"""Host services that the adapters need: layer classes, attention, dtypes."""

from __future__ import annotations

from collections.abc import Callable

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
    """The host's chosen attention in the shape that ``lumina_core.network.ops.Attention`` asks for."""
    heads = q.shape[1]
    if mask is not None:
        # Not every backend of the host takes a bool mask; an additive one works on all.
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
    # Weights may lie elsewhere, quantised or patched; only the host's layer itself knows how to reach them.
    return layer(x.to(dtype)).float()


def _faster(base: type[torch.nn.Module], compute: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]):
    """The host's layer class, which computes by the core's CPU kernels where it would do nothing else itself."""

    class Faster(base):
        def forward(self, x):
            own_work = self.comfy_cast_weights or self.weight_function or self.bias_function
            if not own_work and self.weight is not None and plain_float32(x, self.weight):
                return compute(self, x)
            return super().forward(x)

    return Faster


def host_ops(operations) -> Ops:
    """The core's layer bundle made of a host operations class (``comfy.ops``)."""
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
    """The dtype that t is rounded to, as the official run in that precision does.

    Half-precision weights are a half-precision run even where the host computes in float32; fp8 weights belong to
    bf16.
    """
    for dtype in (weights, cast):
        if dtype in (torch.bfloat16, torch.float16):
            return dtype
    return torch.bfloat16 if weights in _FP8 else torch.float32
