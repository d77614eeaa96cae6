"""Networks for tests of the samplers."""

from __future__ import annotations

from typing import Any

from lumina_core.network.config import VideoConfig
from lumina_core.network.ops import TORCH_OPS


class FakeNetwork:
    """What the samplers use of a network beside its velocity, which a subclass gives. Any latents and texts fit."""

    config, ops = VideoConfig(), TORCH_OPS

    def check_run(self, x, patches, texts):
        pass

    def cache_text(self, text, text_mask):
        return text

    def with_attention(self, attention):
        return self


class WrappedNetwork:
    """A network whose calls a subclass observes or changes."""

    def __init__(self, network: Any):
        self.network = network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)
