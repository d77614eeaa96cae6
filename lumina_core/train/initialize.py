"""Initial weights of a video or audio network, as in the official models/model.py.

Gates and scales start at zero, so every block is initially the identity and the predicted velocity is zero.
"""

from __future__ import annotations

import math

import torch
from torch import nn

# Standard deviation of the embedders' weights.
_SMALL = 0.02
# Parts of the names of parameters that start at zero.
_ZERO = (
    "adaLN_modulation.1.", "final_layer", "cap_embedder.1.", "motion_embedder.mlp.2.", "attention.gate",
    "cond_mlp.2.", "null_", "visual_pos_scale", "sync_pos_emb",
)  # fmt: skip


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Initialize all parameters: zeros for ``_ZERO`` and biases, Glorot uniform for matrices, ones for norms."""
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
