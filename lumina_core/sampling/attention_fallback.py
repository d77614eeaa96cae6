"""Falls back to plain attention where the first forward pass of a run gives NaN, as a broken attention kernel does."""

from __future__ import annotations

import logging
from typing import Any, cast

import torch

from ..network.attention import Attention, attention_name, plain_attention
from .velocity_model import AttentionModel

logger = logging.getLogger(__name__)


class AttentionFallback:
    """Called like ``network``. If the first call gives NaN or infinity, it is repeated on plain attention.

    All later calls then use plain attention too, and a warning names the attention backend that failed. Make a new one
    for each run, because it remembers whether the run has fallen back.
    """

    def __init__(self, network: AttentionModel):
        self.network = network
        self._checked = False

    def __call__(self, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        """The velocity that the network predicts for these arguments, like ``x``."""
        velocity = self.network(x, *arguments, **options)
        checked, self._checked = self._checked, True
        if checked or bool(torch.isfinite(velocity).all()):
            return velocity
        network = self.network
        used = attention_name(network.ops.attention, x.device, x.dtype, network.config.block.head_dim)
        logger.warning(
            "The first step gave NaN or infinite values with %s; trying plain attention, which is slow.", used
        )
        self.network = network.with_attention(cast(Attention, plain_attention))
        return self.network(x, *arguments, **options)
