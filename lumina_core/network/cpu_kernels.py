"""Faster float32 inference on a CPU: the values of torch's own layers up to rounding.

torch computes float32 matrix products with MKL, which is tuned for Intel CPUs. oneDNN, which torch includes too, was
faster on an AMD EPYC: by 8 to 25 % from 128 rows on, and several times for a few rows. oneDNN reads a weight column by
column, so a row-major weight is copied in every call unless ``prepare_for_cpu`` has changed its layout once. torch's
RMSNorm on a CPU is a chain of whole-tensor operations, which is shorter here.

This is the only file that calls private torch operators.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .in_place import add_rows, scale_rows

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
# Numbers of rows at which oneDNN with a row-major weight was slower, by up to 2.5 times.
MKL_ROWS = range(16, 96)
# Tokens that a feed-forward layer takes at a time, few enough for a CPU's cache.
FFN_CHUNK_TOKENS = 1024


class Linear(nn.Linear):
    """torch's linear layer, computed by oneDNN where ``plain_float32`` holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) -> (..., out_features)."""
        if HAS_ONEDNN and plain_float32(x, self.weight):
            return linear(x, self.weight, self.bias)
        return super().forward(x)


class RMSNorm(nn.RMSNorm):
    """torch's RMSNorm, in fewer operations where ``plain_float32`` holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalizes the last axis of ``x``."""
        if self.eps is not None and plain_float32(x, self.weight):
            return rms_norm(x, self.weight, self.eps)
        return super().forward(x)


def modulate(norm: nn.Module, x_BLD: torch.Tensor, scale_BRD: torch.Tensor) -> torch.Tensor:
    """``norm(x) * (1 + scale)``; see ``ops.modulate``."""
    return scale_rows(*norm_and_factor(norm, x_BLD, 1 + scale_BRD))


def add_gated(
    norm: nn.Module, x_BLD: torch.Tensor, update_BLD: torch.Tensor, gate_BRD: torch.Tensor
) -> torch.Tensor:
    """``x + norm(update) * tanh(gate)``, written into ``x_BLD``; see ``ops.add_gated``."""
    return add_rows(x_BLD, *norm_and_factor(norm, update_BLD, gate_BRD.tanh()))


def swiglu(w1: nn.Module, w3: nn.Module, w2: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """``w2(silu(w1 x) * w3 x)`` in chunks that fit the cache, written into ``x``; see ``ops.swiglu``."""
    # A compiler would need one graph per number of chunks, and fuses these operations anyway.
    if torch.compiler.is_compiling() or x.shape[:-1].numel() <= FFN_CHUNK_TOKENS:
        return w2(gated_linear(x, w1, w3))
    for chunk in x.view(-1, x.shape[-1]).split(FFN_CHUNK_TOKENS):
        chunk.copy_(w2(gated_linear(chunk, w1, w3)))
    return x


def plain_float32(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether both are plain float32 tensors on the CPU, and neither gradients, autocast nor torch.compile are on."""
    return (
        x.device.type == "cpu"
        and weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and type(weight) in (torch.Tensor, nn.Parameter)
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """``x @ weight.T + bias`` for ``plain_float32`` tensors."""
    if x.shape[:-1].numel() in MKL_ROWS and weight.is_contiguous():
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def gated_linear(x: torch.Tensor, gate: nn.Module, layer: nn.Module) -> torch.Tensor:
    """``silu(gate(x)) * layer(x)`` for two linear layers, without gradients."""
    if HAS_ONEDNN and isinstance(gate, Linear) and isinstance(layer, Linear):
        if _computes_only(Linear, gate, x) and _computes_only(Linear, layer, x):
            hidden = torch.ops.mkldnn._linear_pointwise(x, gate.weight, gate.bias, "swish", [], "")
            return torch.ops.mkldnn._linear_pointwise.binary(x, hidden, layer.weight, layer.bias, "mul")
    return F.silu(gate(x), inplace=True).mul_(layer(x))


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axis, for ``plain_float32`` tensors."""
    return _over_root_mean_square(x, eps).mul_(weight)


def norm_and_factor(norm: nn.Module, x: torch.Tensor, factor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tensors whose product is ``norm(x) * factor``; the first is new and may be overwritten.

    The weight of an RMSNorm is multiplied with ``factor`` (..., D), which many tokens share, and not with every token.
    """
    if isinstance(norm, RMSNorm) and norm.eps is not None and _computes_only(RMSNorm, norm, x):
        return _over_root_mean_square(x, norm.eps), factor * norm.weight
    return norm(x), factor


def prepare_for_cpu(network: nn.Module) -> None:
    """Prepare a network for inference if all its weights are on the CPU. Their values do not change.

    Their memory layout does, and saving needs row-major weights, so use it for networks that are not saved.
    """
    if all(parameter.device.type == "cpu" for parameter in network.parameters()):
        columns_first(network)
        keep_freed_memory()


@torch.no_grad()
def columns_first(network: nn.Module) -> None:
    """Make the weights of a network's ``Linear`` layers column-major, as oneDNN reads them.

    One layer at a time, so that memory grows by one layer's weight.
    """
    for layer in network.modules():
        if HAS_ONEDNN and isinstance(layer, Linear) and plain_float32(layer.weight, layer.weight):
            layer.weight.data = layer.weight.data.t().contiguous().t()


def keep_freed_memory() -> None:
    """Make glibc keep the memory that a forward pass frees, up to twice 32 MiB, for the next one.

    By default glibc maps large blocks afresh each time, and every 4 KiB page of them costs a page fault when first
    written: a fifth of the time of a forward pass over 3072 tokens of width 512. It stops mapping sizes up to the
    largest block that was freed (mallopt(3), M_MMAP_THRESHOLD, at most 32 MiB), so this allocates and frees one block
    of that size, which is never written.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def _computes_only(kind: type[nn.Module], layer: nn.Module, x: torch.Tensor) -> bool:
    """Whether a call only does what ``kind`` does: no subclass (such as a LoRA), hook or replaced forward."""
    weight = layer.weight
    own = type(layer) is kind and isinstance(weight, torch.Tensor) and plain_float32(x, weight)
    return own and "forward" not in vars(layer) and not layer._forward_hooks and not layer._forward_pre_hooks


def _over_root_mean_square(x: torch.Tensor, eps: float) -> torch.Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
