"""The functions of a block without gradients: the same values, written into activations that are not needed again.

For the arguments see the plain functions in ``ops.py`` and ``rope.py``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from . import rope
from .rope import FreqsCis

# Tokens that a feed-forward layer takes at a time: enough to keep a GPU busy, and few enough that its wide hidden
# layer does not determine peak memory.
FFN_CHUNK_TOKENS = 16384
# Tokens that are converted to float32 at a time.
ROPE_CHUNK_TOKENS = 8192


def modulate(norm: nn.Module, x_BLD: torch.Tensor, scale_BRD: torch.Tensor) -> torch.Tensor:
    """``norm(x) * (1 + scale)``, written into the result of ``norm``."""
    return scale_rows(norm(x_BLD), 1 + scale_BRD)


def add_gated(
    norm: nn.Module, x_BLD: torch.Tensor, update_BLD: torch.Tensor, gate_BRD: torch.Tensor
) -> torch.Tensor:
    """``x + norm(update) * tanh(gate)``, written into ``x_BLD``."""
    return add_rows(x_BLD, norm(update_BLD), gate_BRD.tanh())


def addcmul(x: torch.Tensor, update: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """``x + update * factor``, written into ``x``."""
    return x.addcmul_(update, factor)


def swiglu(w1: nn.Module, w3: nn.Module, w2: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """``w2(silu(w1 x) * w3 x)``; many tokens are split into chunks, whose results are written into ``x``."""
    # A compiler would need one graph per number of chunks, and fuses these operations anyway.
    if torch.compiler.is_compiling() or x.shape[:-1].numel() <= FFN_CHUNK_TOKENS:
        return w2(F.silu(w1(x), inplace=True).mul_(w3(x)))
    for chunk in x.view(-1, x.shape[-1]).split(FFN_CHUNK_TOKENS):
        chunk.copy_(w2(F.silu(w1(chunk), inplace=True).mul_(w3(chunk))))
    return x


def rotate(x_BLHD: torch.Tensor, freqs: FreqsCis) -> torch.Tensor:
    """``rope.rotate``, written into ``x_BLHD``; half precision is converted a chunk at a time."""
    if torch.compiler.is_compiling():
        return rope.rotate(x_BLHD, freqs)
    if x_BLHD.dtype == torch.float32:
        rope.as_complex_pairs(x_BLHD).mul_(freqs.unsqueeze(-2))
        return x_BLHD
    chunks = zip(x_BLHD.split(ROPE_CHUNK_TOKENS, 1), freqs.split(ROPE_CHUNK_TOKENS, -2), strict=True)
    for chunk, freqs_chunk in chunks:
        chunk.copy_(rope.rotate(chunk, freqs_chunk))
    return x_BLHD


def scale_rows(x_BLD: torch.Tensor, factor_BRD: torch.Tensor) -> torch.Tensor:
    """``x * factor``, written into ``x_BLD``; each of R factors is for L / R consecutive tokens."""
    return x_BLD.unflatten(1, (factor_BRD.shape[1], -1)).mul_(factor_BRD.unsqueeze(2)).flatten(1, 2)


def add_rows(x_BLD: torch.Tensor, update_BLD: torch.Tensor, factor_BRD: torch.Tensor) -> torch.Tensor:
    """``x + update * factor``, written into ``x_BLD``; each of R factors is for L / R consecutive tokens."""
    x, update = (tensor.unflatten(1, (factor_BRD.shape[1], -1)) for tensor in (x_BLD, update_BLD))
    return x.addcmul_(update, factor_BRD.unsqueeze(2)).flatten(1, 2)
