"""The running average of the weights: kept beside them, and put in their place to measure and to sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from ..runtime.tensor_files import Weights


@torch.no_grad()
def follow(average: Weights, trained: Mapping[nn.Parameter, str], decay: float) -> None:
    """Move the average a share of ``1 - decay`` towards the weights."""
    for parameter, name in trained.items():
        average[name].lerp_(parameter.detach(), 1 - decay)


@contextmanager
def averaged(network: nn.Module, average: Weights, trained: Mapping[nn.Parameter, str]) -> Iterator[None]:
    """Inside, the network stands still in eval mode, with the averaged weights where there is an average."""
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
