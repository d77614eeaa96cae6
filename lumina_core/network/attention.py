"""Scaled dot-product attention with grouped heads: flash-attn if it is installed and works, else torch's own.

Letters: B batch, H query heads, KV key/value heads, L queries, S keys, D head width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..runtime.devices import cuda_capability

logger = logging.getLogger(__name__)

# attention(q, k, v, mask): q (B, H, L, D), k and v (B, KV, S, D), mask None or bool (B, S), True where a key is
# attended to. Returns (B, L, H * D).
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]

TORCH = "torch"
# Largest error of a kernel on values from -1 to 1. bf16 rounds by about 0.01; a broken kernel is off by about 1.
_TOLERANCE = 0.05
# Scores that plain_attention holds at a time: 256 MiB in float32.
_SCORES = 2**26


def best_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The fastest attention for these tensors' device and dtype; see ``Attention`` for shapes.

    Calls with a mask use torch: flash-attn takes none, and only the cross-attention to a short text has one.
    """
    name = TORCH if mask is not None else _chosen(q.device, q.dtype, q.shape[-1])
    return KERNELS[name](q, k, v, mask)


def torch_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Scaled dot-product attention by the best of torch's backends; see ``Attention`` for shapes."""
    shared = {}
    if q.shape[1] != k.shape[1]:
        # On a GPU, fused kernels that take a mask do not support grouped heads.
        if (mask is None or not q.is_cuda) and _reads_shared_heads(q.device, q.dtype, q.shape[-1]):
            shared = {"enable_gqa": True}
        else:
            k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None, :], **shared)
    return out.transpose(1, 2).flatten(2)


@torch.compiler.disable
def plain_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention as two matrix products and a softmax in float32; see ``Attention`` for shapes.

    Slow; used where a kernel fails. Queries are split into chunks, so that memory does not grow with L * S.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    k, v = (repeat_heads(x, q.shape[1]).to(dtype) for x in (k, v))
    hidden = None if mask is None else ~mask[:, None, None, :]
    out = torch.empty_like(q)
    chunk = max(1, _SCORES // (q.shape[0] * q.shape[1] * k.shape[2]))
    for part, target in zip(q.split(chunk, dim=2), out.split(chunk, dim=2), strict=True):
        scores = (part.to(dtype) * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        if hidden is not None:
            scores.masked_fill_(hidden, -torch.inf)
        target.copy_(scores.softmax(-1) @ v)
    return out.transpose(1, 2).flatten(2)


def repeat_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, KV, S, D) -> (B, heads, S, D); adjacent query heads share one key/value head."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def _flash_attention_3(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    from flash_attn_interface import flash_attn_func

    return _in_flash_layout(flash_attn_func, q, k, v)


def _flash_attention_2(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    from flash_attn import flash_attn_func

    return _in_flash_layout(flash_attn_func, q, k, v)


def _in_flash_layout(function: Callable, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    out = function(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    # Some releases of flash-attn 3 also return the log-sum-exp of the scores.
    return (out[0] if isinstance(out, tuple) else out).flatten(2)


# Attention without a mask by name, the fastest first.
KERNELS: dict[str, Attention] = {
    "flash-attn 3": _flash_attention_3,
    "flash-attn 2": _flash_attention_2,
    TORCH: torch_attention,
}
# First and last compute capability, and the module to import.
_FLASH = {"flash-attn 3": ((9, 0), (9, 9), "flash_attn_interface"), "flash-attn 2": ((8, 0), (99, 0), "flash_attn")}


@lru_cache
def choose_attention(device: torch.device, dtype: torch.dtype, width: int) -> str:
    """Name in ``KERNELS`` of the fastest that works; the choice and its reasons are logged once per process.

    Args:
        device: of the tensors.
        dtype: of the tensors.
        width: of a head.
    """
    faults = {}
    for name in _FLASH:
        fault = _unusable_reason(name, device, dtype, width)
        if fault is None:
            break
        faults[name] = fault
    else:
        name = TORCH
    heads = "shared" if _has_grouped_kernel(device, dtype, width) else "repeated"
    chosen = f"torch's, key and value heads {heads}" if name == TORCH else name
    why = "".join(f"; {other} {fault}" for other, fault in faults.items())
    logger.info("Attention on %s in %s, heads %d wide: %s%s.", device, dtype, width, chosen, why)
    return name


def attention_name(attention: Attention, device: torch.device, dtype: torch.dtype, width: int) -> str:
    """Name for messages: of the kernel that ``best_attention`` uses, or of another callable."""
    if attention is not best_attention:
        return getattr(attention, "__name__", "its attention")
    name = choose_attention(device, dtype, width)
    return "torch's attention" if name == TORCH else name


@torch.compiler.assume_constant_result
def _chosen(device: torch.device, dtype: torch.dtype, width: int) -> str:
    return choose_attention(device, dtype, width)


def _unusable_reason(name: str, device: torch.device, dtype: torch.dtype, width: int) -> str | None:
    """Why a flash-attn cannot be used, None if it can. A warning is logged if it is installed but does not work."""
    first, last, module = _FLASH[name]
    capability = cuda_capability(device)
    if capability is None:
        return "needs an NVIDIA GPU"
    if not first <= capability <= last:
        return "is not for compute capability {}.{}".format(*capability)
    if dtype not in (torch.bfloat16, torch.float16):
        return "needs bf16 or fp16"
    try:
        fault = _fault(KERNELS[name], device, dtype, width)
    except Exception as error:  # a kernel built for another torch or GPU raises errors of any type
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            return "is not installed"
        fault = f"{type(error).__name__}: {error}".splitlines()[0]
    if fault is None:
        return None
    logger.warning("%s is installed but cannot be used here: %s", name, fault)
    return "does not work here"


@torch.no_grad()
def _fault(attend: Attention, device: torch.device, dtype: torch.dtype, width: int) -> str | None:
    """What is wrong with a kernel's result on a small input, None if nothing is. Raises what the kernel raises."""
    # Random input would advance the user's generator.
    wave = (torch.arange(64 * 4 * width, device=device) * 0.7).sin().view(1, 4, 64, width).to(dtype)
    q, k, v = wave, wave[:, :2].flip(2), wave[:, 2:]
    reference = cast(Attention, plain_attention)(q, k, v, None)
    error = float((attend(q, k, v, None).float() - reference.float()).abs().max())
    return None if error <= _TOLERANCE else f"its values are off by {error:.2g}"


@torch.compiler.assume_constant_result
def _reads_shared_heads(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    return _has_grouped_kernel(device, dtype, width)


@lru_cache
def _has_grouped_kernel(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether a fused kernel of torch supports grouped heads.

    If none does, torch falls back to its math kernel, which holds all L x S scores.
    """
    q = torch.zeros(1, 2, 16, width, device=device, dtype=dtype)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            F.scaled_dot_product_attention(q, q[:, :1], q[:, :1], enable_gqa=True)
    except (RuntimeError, TypeError):  # no such kernel here; torch before 2.5 lacks the argument
        return False
    return True
