"""A batch of a network in parts, one after another, behind the network's own call signature.

Three reasons: samples that a forward pass cannot treat alike (Context Drop at unequal times), less memory on a CPU in
the same time, and out of memory (``runtime.oom.PerSampleFallback``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .text_cache import ConditioningCache

# ``call(part)`` for the parts of a batch of so many samples, joined.
Strategy = Callable[[Callable[[slice], torch.Tensor], int], torch.Tensor]


def whole_batch(call: Callable[[slice], torch.Tensor], samples: int) -> torch.Tensor:
    """One call."""
    return call(slice(0, samples))


def per_sample(call: Callable[[slice], torch.Tensor], samples: int) -> torch.Tensor:
    """One call a sample."""
    return torch.cat([call(slice(i, i + 1)) for i in range(samples)])


class BatchSplit:
    """Called like ``network``, which runs parts of the batch as ``strategy`` says.

    Args:
        network: ``network(x, *arguments, **options)`` returns a tensor like x, whose first axis is the batch.
        strategy: ``whole_batch``, ``per_sample`` or one that decides as it goes.
    """

    def __init__(self, network: Callable[..., torch.Tensor], strategy: Strategy):
        self.network, self.strategy = network, strategy

    def __call__(self, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        """Positional tensors and text caches are of the whole batch, and each part gets its samples of them."""

        def call(part: slice) -> torch.Tensor:
            return self.network(*(_take(argument, part) for argument in (x, *arguments)), **options)

        return self.strategy(call, len(x))


def _take(argument: Any, part: slice) -> Any:
    return argument[part] if isinstance(argument, (torch.Tensor, ConditioningCache)) else argument
