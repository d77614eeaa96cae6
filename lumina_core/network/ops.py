"""The layer classes and functions that a network is made of, which a host or a faster backend may replace.

The functions of ``TORCH_OPS`` are the block's equation as the paper writes it, safe for autograd. ``Ops.for_call``
chooses once per forward pass: these functions where gradients are needed, else their in-place forms (``in_place.py``),
and on a CPU those with faster kernels (``cpu_kernels.py``).

Letters: B batch, L tokens, R conditioning vectors (each is for L / R consecutive tokens), H heads, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import cpu_kernels, in_place
from .attention import Attention, best_attention
from .rope import rotate


def modulate(norm: nn.Module, x_BLD: torch.Tensor, scale_BRD: torch.Tensor) -> torch.Tensor:
    """``norm(x) * (1 + scale)``, like ``x_BLD``; each of R scales is for L / R consecutive tokens.

    Scales are broadcast, because a copy per token would be large.
    """
    rows = norm(x_BLD).unflatten(1, (scale_BRD.shape[1], -1))
    return (rows * (1 + scale_BRD).unsqueeze(2)).flatten(1, 2)


def add_gated(
    norm: nn.Module, x_BLD: torch.Tensor, update_BLD: torch.Tensor, gate_BRD: torch.Tensor
) -> torch.Tensor:
    """``x + norm(update) * tanh(gate)``, like ``x_BLD``; each of R gates is for L / R consecutive tokens."""
    x, update = (tensor.unflatten(1, (gate_BRD.shape[1], -1)) for tensor in (x_BLD, norm(update_BLD)))
    return torch.addcmul(x, update, gate_BRD.tanh().unsqueeze(2)).flatten(1, 2)


def swiglu(w1: nn.Module, w3: nn.Module, w2: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """``w2(silu(w1 x) * w3 x)``, like ``x`` (..., D)."""
    return w2(F.silu(w1(x)) * w3(x))


def match(parameter: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A parameter on the device and in the dtype of the activation ``like``."""
    return parameter.to(like)


def in_float32(layer: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``layer(x)`` computed in float32, whatever the dtypes of its weights and of the run (``dtype``) are."""
    parameters = dict(layer.named_parameters())
    with _without_autocast(x.device.type):
        if all(parameter.dtype == torch.float32 for parameter in parameters.values()):
            return layer(x.float())
        parameters = {name: parameter.float() for name, parameter in parameters.items()}
        return torch.func.functional_call(layer, parameters, (x.float(),))


def _without_autocast(device: str) -> AbstractContextManager:
    """Turns autocast off, under which bf16 training runs and a float32 layer would compute in bf16."""
    if torch.compiler.is_compiling():  # training is never compiled, and the compiler cannot trace the query below
        return nullcontext()
    within = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if within else nullcontext()


@dataclass(frozen=True)
class Ops:
    """Layer classes and functions of a network; the defaults are torch's own.

    Without gradients, functions may overwrite activations (``x``, ``update``), but never parameters or conditioning.

    Args:
        linear: layer class that takes the arguments of torch's, ``device`` and ``dtype`` included.
        layer_norm: the same.
        rms_norm: the same.
        attention: scaled dot-product attention; see ``attention.Attention``.
        cast: ``cast(parameter, like)``, a parameter on an activation's device and in its dtype.
        fp32_linear: ``fp32_linear(layer, x, dtype)`` runs a layer of the conditioning, which has few vectors per
            sample, as exactly as possible; ``dtype`` is the run's, and the result is float32.
        modulate: ``modulate(norm, x, scale)``, see ``modulate``.
        add_gated: ``add_gated(norm, x, update, gate)``, see ``add_gated``.
        addcmul: ``addcmul(x, update, factor)``, ``x + update * factor``.
        swiglu: ``swiglu(w1, w3, w2, x)``, see ``swiglu``.
        rotate: ``rotate(x, freqs)``, see ``rope.rotate``.
    """

    linear: type[nn.Module] = nn.Linear
    layer_norm: type[nn.Module] = nn.LayerNorm
    rms_norm: type[nn.Module] = nn.RMSNorm
    attention: Attention = best_attention
    cast: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = match
    fp32_linear: Callable[[nn.Module, torch.Tensor, torch.dtype], torch.Tensor] = in_float32
    modulate: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor] = modulate
    add_gated: Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] = add_gated
    addcmul: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] = torch.addcmul
    swiglu: Callable[[nn.Module, nn.Module, nn.Module, torch.Tensor], torch.Tensor] = swiglu
    rotate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = rotate

    def for_call(self, x: torch.Tensor, **attention_options: Any) -> Ops:
        """The functions for one forward pass over ``x``.

        Args:
            x: input of the network; its device matters, and whether gradients are enabled.
            attention_options: further arguments of ``attention`` in this pass.
        """
        if torch.is_grad_enabled():
            ops = self
        else:
            ops = self.on_cpu if x.device.type == "cpu" else self.in_place
        if not attention_options:
            return ops
        return replace(ops, attention=partial(ops.attention, **attention_options))

    @cached_property
    def in_place(self) -> Ops:
        """These ops without gradients: functions that have not been replaced become their in-place forms."""
        return self._with(IN_PLACE)

    @cached_property
    def on_cpu(self) -> Ops:
        """``in_place`` with the kernels of ``cpu_kernels``."""
        return self._with({**IN_PLACE, **CPU})

    def _with(self, functions: Mapping[str, Callable]) -> Ops:
        plain = {name: function for name, function in functions.items() if getattr(self, name) is PLAIN[name]}
        return replace(self, **plain)


# The functions of a block by name of their field, in their three forms.
PLAIN: Mapping[str, Callable] = {
    "modulate": modulate, "add_gated": add_gated, "addcmul": torch.addcmul, "swiglu": swiglu, "rotate": rotate,
}  # fmt: skip
IN_PLACE: Mapping[str, Callable] = {
    "modulate": in_place.modulate, "add_gated": in_place.add_gated, "addcmul": in_place.addcmul,
    "swiglu": in_place.swiglu, "rotate": in_place.rotate,
}  # fmt: skip
CPU: Mapping[str, Callable] = {
    "modulate": cpu_kernels.modulate, "add_gated": cpu_kernels.add_gated, "swiglu": cpu_kernels.swiglu,
}  # fmt: skip

TORCH_OPS = Ops()
# For a network on a CPU. With gradients or on another device, its layers compute as torch's own.
CPU_OPS = Ops(linear=cpu_kernels.Linear, rms_norm=cpu_kernels.RMSNorm)


def ops_for(device: torch.device | str) -> Ops:
    """The ops to construct a network with that will run on ``device``."""
    return CPU_OPS if torch.device(device).type == "cpu" else TORCH_OPS
