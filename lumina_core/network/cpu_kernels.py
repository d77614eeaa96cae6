"""Inference on a CPU: torch's values to rounding, in less time; anywhere else torch's own layers run.

torch sends float32 products to MKL, which knows Intel's processors best; oneDNN, which torch brings too, was faster on
an AMD EPYC: by 8 to 25 % from 128 rows on, several times for a few rows. It reads a weight column by column, so one
that lies by rows is laid out again in each call, unless ``prepare_for_cpu`` has done so once. RMSNorm is a chain of
whole-tensor steps in torch on a CPU.

The only file that calls private torch operators.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .in_place import add_rows, scale_rows

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
# Rows for which oneDNN was slower where the weight lies by rows, up to 2.5 times; by columns it was the faster.
MKL_ROWS = range(16, 96)
# Tokens that a feed-forward layer takes at a time: as many as fit a CPU's cache.
FFN_CHUNK_TOKENS = 1024


class Linear(nn.Linear):
    """torch's, by oneDNN where ``plain_float32`` holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if HAS_ONEDNN and plain_float32(x, self.weight):
            return linear(x, self.weight, self.bias)
        return super().forward(x)


class RMSNorm(nn.RMSNorm):
    """torch's, in fewer steps where ``plain_float32`` holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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
    """``w2(silu(w1 x) * w3 x)``, in chunks that fit the cache and are written into ``x``; see ``ops.swiglu``."""
    # For a compiler, a loop over chunks would be one graph per number of chunks, and it fuses these anyway.
    if torch.compiler.is_compiling() or x.shape[:-1].numel() <= FFN_CHUNK_TOKENS:
        return w2(gated_linear(x, w1, w3))
    for chunk in x.view(-1, x.shape[-1]).split(FFN_CHUNK_TOKENS):
        chunk.copy_(w2(gated_linear(chunk, w1, w3)))
    return x


def plain_float32(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether both are ordinary float32 on a CPU and neither gradients nor a compiler need torch's own layer."""
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
    """``x weight^T + bias`` of ``plain_float32`` tensors."""
    if x.shape[:-1].numel() in MKL_ROWS and weight.is_contiguous():
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def gated_linear(x: torch.Tensor, gate: nn.Module, layer: nn.Module) -> torch.Tensor:
    """``silu(gate(x)) * layer(x)`` of two linear layers, where no gradient is needed."""
    if HAS_ONEDNN and isinstance(gate, Linear) and isinstance(layer, Linear):
        if _computes_only(Linear, gate, x) and _computes_only(Linear, layer, x):
            hidden = torch.ops.mkldnn._linear_pointwise(x, gate.weight, gate.bias, "swish", [], "")
            return torch.ops.mkldnn._linear_pointwise.binary(x, hidden, layer.weight, layer.bias, "mul")
    return F.silu(gate(x), inplace=True).mul_(layer(x))


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axis, of ``plain_float32`` tensors."""
    return _over_root_mean_square(x, eps).mul_(weight)


def norm_and_factor(norm: nn.Module, x: torch.Tensor, factor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tensors whose product is ``norm(x) * factor``, the first one new; ``factor`` (..., D) is for many tokens.

    The weight of an RMSNorm is multiplied with the few elements of the factor, not with every token.
    """
    if isinstance(norm, RMSNorm) and norm.eps is not None and _computes_only(RMSNorm, norm, x):
        return _over_root_mean_square(x, norm.eps), factor * norm.weight
    return norm(x), factor


def prepare_for_cpu(network: nn.Module) -> None:
    """Set up a network for inference on a CPU; its values stay. Does nothing for weights elsewhere.

    For a network that is only read from now on: what writes weights to a file needs them by rows.
    """
    if all(parameter.device.type == "cpu" for parameter in network.parameters()):
        columns_first(network)
        keep_freed_memory()


@torch.no_grad()
def columns_first(network: nn.Module) -> None:
    """Lay the weights of a network's ``Linear`` layers out by columns, where oneDNN takes them.

    A layer at a time, so that memory grows by one of them.
    """
    for layer in network.modules():
        if HAS_ONEDNN and isinstance(layer, Linear) and plain_float32(layer.weight, layer.weight):
            layer.weight.data = layer.weight.data.t().contiguous().t()


def keep_freed_memory() -> None:
    """Let the C library of Linux keep what a pass frees for the next one, up to twice 32 MiB.

    glibc maps large blocks again each time, and every 4 KiB of them costs a page fault when first written: a fifth of a
    pass over 3072 tokens of width 512 in a process that did nothing else. It stops at sizes that were freed once
    (mallopt(3), M_MMAP_THRESHOLD, at most 32 MiB), so one such block is allocated and freed; it is never written.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def _computes_only(kind: type[nn.Module], layer: nn.Module, x: torch.Tensor) -> bool:
    """Whether a call would do no more than this class does: no work of a subclass (a LoRA), hook or other forward."""
    weight = layer.weight
    own = type(layer) is kind and isinstance(weight, torch.Tensor) and plain_float32(x, weight)
    return own and "forward" not in vars(layer) and not layer._forward_hooks and not layer._forward_pre_hooks


def _over_root_mean_square(x: torch.Tensor, eps: float) -> torch.Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
