"""LoRA training: selected linear layers of a frozen network get a trainable low-rank update.

Source: LoRA (arXiv 2106.09685), section 4.1. The saved keys are those of ``lumina_core.checkpoints.lora``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..checkpoints.lora import ALPHA, DOWN, PREFIX, UP
from ..network.video import MultiScaleNextDiT
from .recipe import Lora
from .rng import generator


class LoraLinear(nn.Linear):
    """A frozen linear layer plus ``alpha / rank * B A x``; it keeps the layer's weight under the same name.

    B is initialized to zero, so training starts from the output of the frozen network.

    Args:
        layer: the layer to wrap.
        rank: of the update.
        alpha: its scale.
        rng: draws the initial values of A.
    """

    alpha: torch.Tensor

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, rng: torch.Generator):
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.lora_A = nn.Linear(layer.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, layer.out_features, bias=False)
        bound = layer.in_features**-0.5
        with torch.no_grad():
            self.lora_A.weight.uniform_(-bound, bound, generator=rng)
        nn.init.zeros_(self.lora_B.weight)
        self.register_buffer("alpha", torch.tensor(float(alpha)))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Output (..., out_features) of ``input`` (..., in_features)."""
        return super().forward(input) + self.lora_B(self.lora_A(input)) * (self.alpha / self.lora_A.out_features)


def add_lora(network: Any, lora: Lora, seed: int) -> None:
    """Freeze the network and wrap the selected layers of every block in ``LoraLinear``, initialized from ``seed``."""
    network.requires_grad_(False)
    selected = [
        (part, name, layer)
        for part in (part for block in network.layers for part in (block.attention, block.feed_forward))
        for name, layer in part.named_children()
        if name in lora.layers
    ]
    for number, (part, name, layer) in enumerate(selected):
        setattr(part, name, LoraLinear(layer, lora.rank, lora.alpha, generator(seed, "lora", number)))


def lora_tensors(network: MultiScaleNextDiT) -> Iterator[tuple[str, torch.Tensor]]:
    """(key in a LoRA file, tensor) of all LoRA layers of the network."""
    for path, module in network.named_modules():
        if isinstance(module, LoraLinear):
            yield f"{PREFIX}{path}{DOWN}", module.lora_A.weight
            yield f"{PREFIX}{path}{UP}", module.lora_B.weight
            yield f"{PREFIX}{path}{ALPHA}", module.alpha
