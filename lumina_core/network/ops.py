"""What a host may replace: layer classes, attention, and how a bare parameter meets an activation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from .attention import Attention, best_attention
from .cpu_kernels import Linear, RMSNorm


def _match(parameter: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return parameter.to(like)


def in_float32(layer: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``layer`` on x in float32, whatever its weights are stored in; returns float32."""
    parameters = dict(layer.named_parameters())
    with _without_autocast(x.device.type):
        if all(parameter.dtype == torch.float32 for parameter in parameters.values()):
            return layer(x.float())
        parameters = {name: parameter.float() for name, parameter in parameters.items()}
        return torch.func.functional_call(layer, parameters, (x.float(),))


def _without_autocast(device: str) -> AbstractContextManager:
    """Training in bf16 is under autocast, which would compute in bf16 after all."""
    if torch.compiler.is_compiling():  # which training never is; the compiler cannot trace the question
        return nullcontext()
    within = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if within else nullcontext()


@dataclass(frozen=True)
class Ops:
    """Layer classes take torch's arguments plus ``device`` and ``dtype``. ``cast(parameter, like)`` brings a bare
    parameter to an activation's device and dtype. ``precise(layer, x, dtype)`` runs a layer of the conditioning, a row
    or few per item, as exactly as can be; ``dtype`` is the run's, the result float32."""

    linear: type[nn.Module] = Linear
    layer_norm: type[nn.Module] = nn.LayerNorm
    rms_norm: type[nn.Module] = RMSNorm
    attention: Attention = best_attention
    cast: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _match
    precise: Callable[[nn.Module, torch.Tensor, torch.dtype], torch.Tensor] = in_float32


TORCH_OPS = Ops()
