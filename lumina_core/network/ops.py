"""What a host or a faster backend may replace in a network: its layer classes, its attention, and the blocks' equation.

``TORCH_OPS`` is the equation as the paper writes it, safe for autograd. ``Ops.for_call`` picks once per forward pass
what the blocks compute with: the plain equation where gradients are needed, else its in-place forms (``in_place.py``),
and on a CPU those with faster kernels (``cpu_kernels.py``).

Letters: B batch, L tokens, R rows with a conditioning vector of their own (R divides L), H heads, D width.
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
    """``norm(x) * (1 + scale)``, each row's scale for that row's tokens; like ``x_BLD``.

    Broadcasting keeps video (R = 1) from copying one vector per token.
    """
    rows = norm(x_BLD).unflatten(1, (scale_BRD.shape[1], -1))
    return (rows * (1 + scale_BRD).unsqueeze(2)).flatten(1, 2)


def add_gated(
    norm: nn.Module, x_BLD: torch.Tensor, update_BLD: torch.Tensor, gate_BRD: torch.Tensor
) -> torch.Tensor:
    """``x + norm(update) * tanh(gate)``, each row's gate for that row's tokens; like ``x_BLD``."""
    x, update = (tensor.unflatten(1, (gate_BRD.shape[1], -1)) for tensor in (x_BLD, norm(update_BLD)))
    return torch.addcmul(x, update, gate_BRD.tanh().unsqueeze(2)).flatten(1, 2)


def swiglu(w1: nn.Module, w3: nn.Module, w2: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """``w2(silu(w1 x) * w3 x)``, like ``x`` (..., D)."""
    return w2(F.silu(w1(x)) * w3(x))


def match(parameter: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A bare parameter on the device and in the dtype of an activation."""
    return parameter.to(like)


def in_float32(layer: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``layer`` on x in float32, whatever its weights are stored in and whatever the run's ``dtype`` is.

    Returns float32.
    """
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
    """Layer classes and functions that a network is made of; the defaults are torch's own.

    Functions may overwrite their activations (``x``, ``update``) where no gradient is needed, never parameters or
    what belongs to the conditioning.

    Args:
        linear, layer_norm, rms_norm: layer classes that take torch's arguments, ``device`` and ``dtype`` included.
        attention: scaled dot-product attention; see ``attention.Attention``.
        cast: ``cast(parameter, like)``, a bare parameter on an activation's device and in its dtype.
        fp32_linear: ``fp32_linear(layer, x, dtype)`` runs a layer of the conditioning, which has a row or few per
            sample, as exactly as possible; ``dtype`` is the run's, the result float32.
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
        """What the blocks compute with in one forward pass over ``x``.

        Args:
            x: the network's input; its device decides, and whether gradients are enabled.
            attention_options: further arguments of ``attention`` for this pass.
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
        """These ops without gradients: functions that still are the plain equation write into their activations."""
        return self._with(IN_PLACE)

    @cached_property
    def on_cpu(self) -> Ops:
        """``in_place`` for a CPU, with the kernels of ``cpu_kernels``."""
        return self._with({**IN_PLACE, **CPU})

    def _with(self, functions: Mapping[str, Callable]) -> Ops:
        plain = {name: function for name, function in functions.items() if getattr(self, name) is PLAIN[name]}
        return replace(self, **plain)


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
# For a network that runs on a CPU without gradients; anywhere else its layers are torch's own.
CPU_OPS = Ops(linear=cpu_kernels.Linear, rms_norm=cpu_kernels.RMSNorm)


def ops_for(device: torch.device | str) -> Ops:
    """The ops to build a network with that is to run on ``device``."""
    return CPU_OPS if torch.device(device).type == "cpu" else TORCH_OPS
