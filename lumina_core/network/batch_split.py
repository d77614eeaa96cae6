"""Splits a batch and runs the network on the parts, with the network's own call signature.

Reasons are samples that one forward pass cannot take together (Context Drop at unequal timesteps), lower memory on a
CPU in the same time, and out-of-memory errors (``runtime.oom.PerSampleFallback``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .audio_conditioning import AudioCondition
from .text_cache import ConditioningCache

# strategy(call, samples): runs call(part) on parts of a batch of that many samples and concatenates the results.
Strategy = Callable[[Callable[[slice], torch.Tensor], int], torch.Tensor]


def whole_batch(call: Callable[[slice], torch.Tensor], samples: int) -> torch.Tensor:
    """The strategy that runs the whole batch in one call."""
    return call(slice(0, samples))


def per_sample(call: Callable[[slice], torch.Tensor], samples: int) -> torch.Tensor:
    """The strategy that runs one call per sample."""
    return torch.cat([call(slice(i, i + 1)) for i in range(samples)])


class BatchSplit:
    """A callable like ``network`` that runs it on the parts of the batch that ``strategy`` chooses.

    Args:
        network: ``network(x, *arguments, **options)`` returns a tensor like x, whose first axis is the batch.
        strategy: ``whole_batch``, ``per_sample`` or one that chooses at run time.
    """

    def __init__(self, network: Callable[..., torch.Tensor], strategy: Strategy):
        self.network, self.strategy = network, strategy

    def __call__(self, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        """Positional tensors and conditions are of the whole batch and are split with it; options are not."""

        def call(part: slice) -> torch.Tensor:
            return self.network(*(_take(argument, part) for argument in (x, *arguments)), **options)

        return self.strategy(call, len(x))


def _take(argument: Any, part: slice) -> Any:
    return argument[part] if isinstance(argument, (torch.Tensor, ConditioningCache, AudioCondition)) else argument
