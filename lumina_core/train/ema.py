"""EMA of the weights: updated during training, and swapped in for evaluation and sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from ..runtime.tensor_files import Weights


@torch.no_grad()
def update(average: Weights, trained: Mapping[nn.Parameter, str], decay: float) -> None:
    """``average = decay * average + (1 - decay) * weights``, in place.

    Args:
        average: the EMA by parameter name.
        trained: name of each trained parameter.
        decay: 0 to below 1.
    """
    for parameter, name in trained.items():
        average[name].lerp_(parameter.detach(), 1 - decay)


@contextmanager
def applied(network: nn.Module, average: Weights, trained: Mapping[nn.Parameter, str]) -> Iterator[None]:
    """Context in which the network is in eval mode, without gradients, with the EMA weights if ``average`` has any."""
    kept = {name: parameter.detach().clone() for parameter, name in trained.items()} if average else {}
    _put(average, trained)
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        _put(kept, trained)
        network.train()


@torch.no_grad()
def _put(weights: Weights, trained: Mapping[nn.Parameter, str]) -> None:
    for parameter, name in trained.items():
        if name in weights:
            parameter.copy_(weights[name])
