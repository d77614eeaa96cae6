"""Options of the network's forward pass that work with the same weights."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ..errors import LuminaError
from ..shapes.latents import LatentSize
from .rope_scaling import WATERSHED

# RoPE scaling beyond the trained size, see rope_scaling.py. auto picks a method; off extrapolates without scaling.
ROPES = ("auto", "off", "interpolate", "ntk", "frequency", "time", "time-step")


@dataclass(frozen=True)
class NetworkOptions:
    """Options of the forward pass. By default it is as in training.

    Args:
        rope: one of ``ROPES``; none changes anything up to the trained size.
        proportional: scale the scores of self-attention by the number of tokens.
        context_drop: timestep, 0 to 1, from which every layer uses all keys; 0 turns Context Drop off.
        train_size: trained size, if the checkpoint does not state it or states a wrong one.

    Raises:
        LuminaError: a field is out of range.
    """

    rope: str = "auto"
    proportional: bool = False
    context_drop: float = 0.0
    train_size: LatentSize | None = None

    def __post_init__(self) -> None:
        if self.rope not in ROPES:
            raise LuminaError(f"rope is '{self.rope}'; choose one of {', '.join(ROPES)}.", field="rope", kind="value")
        if not 0 <= self.context_drop <= 1:
            raise LuminaError(
                f"context_drop is {self.context_drop}; write a number from 0 (off) to 1.",
                field="context_drop",
                kind="value",
            )

    def stretch(self, t: float) -> Hashable:
        """Equal for timesteps between which no position changes abruptly, at any size."""
        return t >= WATERSHED if self.rope == "time-step" else None


# The forward pass of training.
AS_TRAINED = NetworkOptions()
