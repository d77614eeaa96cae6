"""Changes of the network's forward pass that need no other weights."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ..errors import LuminaError
from ..shapes.latents import LatentSize
from .rope_scaling import WATERSHED

ROPES = ("auto", "off", "interpolate", "ntk", "frequency", "time", "time-step")
"""How positions beyond the size that a checkpoint was trained at are met; off goes on counting."""


@dataclass(frozen=True)
class NetworkOptions:
    """As trained by default.

    Args:
        rope: one of ``ROPES``; auto does nothing at sizes up to the one trained at.
        proportional: scale the scores of self-attention by the number of tokens.
        context_drop: flow time, 0 to 1, from which every layer reads all keys again; 0 is off.
        train_size: size that the checkpoint was trained at, where it does not say or says wrong.

    Raises:
        LuminaError: a field is out of range.
    """

    rope: str = "auto"
    proportional: bool = False
    context_drop: float = 0.0
    train_size: LatentSize | None = None

    def __post_init__(self) -> None:
        if self.rope not in ROPES:
            raise LuminaError(f"rope is '{self.rope}'; choose one of {', '.join(ROPES)}.")
        if not 0 <= self.context_drop <= 1:
            raise LuminaError(f"context_drop is {self.context_drop}; write a number from 0 (off) to 1.")

    def stretch(self, t: float) -> Hashable:
        """Equal for flow times between which the positions do not jump, at whatever size."""
        return t >= WATERSHED if self.rope == "time-step" else None


AS_TRAINED = NetworkOptions()
