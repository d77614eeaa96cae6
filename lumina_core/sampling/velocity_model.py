"""What the samplers use of a network: the methods of ``NextDiT``, and those that ``AudioNextDiT`` has too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

import torch

from ..network.attention import Attention
from ..network.audio_config import AudioConfig
from ..network.config import VideoConfig
from ..network.ops import Ops
from ..network.text_cache import ConditioningCache
from ..shapes.schedules import PatchSize
from .text import Text

Model = TypeVar("Model", bound="AttentionModel")


class AttentionModel(Protocol):
    """A network that predicts the velocity of latents x, and whose attention can be replaced."""

    def __call__(self, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        """The velocity, like x."""
        ...

    @property
    def config(self) -> VideoConfig | AudioConfig:
        """Its head width is read."""
        ...

    @property
    def ops(self) -> Ops:
        """Its attention is named in a warning."""
        ...

    def with_attention(self: Model, attention: Attention) -> Model:
        """A network with the same weights and another attention."""
        ...


class VelocityModel(AttentionModel, Protocol):
    """A network for latents (B, C, F, H, W). It is called with the arguments of ``NextDiT.forward``.

    ``options`` are passed to it only if the plan changes any.
    """

    @property
    def config(self) -> VideoConfig:
        """Its patch sizes and guided channels are read too."""
        ...

    def check_run(self, x: torch.Tensor, patches: Iterable[PatchSize], texts: Iterable[Text]) -> None:
        """Raise LuminaError unless latents, every patch size and every text fit."""
        ...

    def cache_text(self, text: torch.Tensor, text_mask: torch.Tensor | None) -> ConditioningCache:
        """What a call takes in place of text features and mask, for all calls of one run."""
        ...
