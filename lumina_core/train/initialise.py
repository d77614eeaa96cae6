"""First weights of a network, for video or sound, as the official models/model.py draws them.

Gates and scales start at zero, so every block starts as the identity and the network's first velocity is zero.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_SMALL = 0.02
_ZERO = (
    "adaLN_modulation.1.", "final_layer", "cap_embedder.1.", "motion_embedder.mlp.2.", "attention.gate",
    "cond_mlp.2.", "null_", "visual_pos_scale", "sync_pos_emb",
)  # fmt: skip


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter: zeros where training must open a path, Glorot for matrices, ones for norms."""
    for name, parameter in network.named_parameters():
        if name.startswith("all_final_layer") or any(part in name for part in _ZERO):
            nn.init.zeros_(parameter)
        elif name == "pad_token" or ("embedder.mlp" in name and parameter.ndim == 2):
            parameter.normal_(0, _SMALL, generator=generator)
        elif parameter.ndim == 2:
            _glorot(parameter, generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)


def _glorot(matrix: torch.Tensor, generator: torch.Generator) -> None:
    bound = math.sqrt(6 / sum(matrix.shape))
    matrix.uniform_(-bound, bound, generator=generator)
