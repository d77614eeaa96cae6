"""NaN in the first forward pass of a run: once more on plain attention, in case that a kernel is broken here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from ..network.attention import attention_name, plain_attention

logger = logging.getLogger(__name__)


def attention_fallback(model: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """``model`` with the fallback, called alike; ``model`` itself where its attention cannot be changed.

    Make a new one for each run.
    """
    return AttentionFallback(model) if hasattr(model, "with_attention") else model


class AttentionFallback:
    """Called like ``network``; where the first call gives NaN or infinity, it and all later ones use plain attention.

    A warning then names the attention that was used before.

    Args:
        network: ``NextDiT`` or another with ``with_attention``, ``ops`` and ``config``.
    """

    def __init__(self, network: Any):
        self.network = network
        self._checked = False

    def __call__(self, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        """What the network gives for these arguments."""
        velocity = self.network(x, *arguments, **options)
        checked, self._checked = self._checked, True
        if checked or bool(torch.isfinite(velocity).all()):
            return velocity
        network = self.network
        used = attention_name(network.ops.attention, x.device, x.dtype, network.config.block.head_dim)
        logger.warning(
            "The first step gave NaN or infinite values with %s; trying plain attention, which is slow.", used
        )
        self.network = network.with_attention(plain_attention)
        return self.network(x, *arguments, **options)
