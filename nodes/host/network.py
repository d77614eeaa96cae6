"""What every network of the core needs to run as a network of the host: its calling convention and its flow time."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
import torch

from .oom import RunFallback
from .ops import host_ops


class HostNetwork:
    """A network of the core with the host's calling convention. Parameters keep their names in checkpoints.

    Subclasses list it before the core's class among their bases, and define ``_forward``, which takes flow time.
    """

    def __init__(self, config: Any, dtype=None, device=None, operations=None):
        # The next class among the bases, the network, takes all of these arguments.
        super().__init__(config, host_ops(operations), device=device, dtype=dtype)  # pyright: ignore[reportCallIssue]
        self.dtype = dtype
        self.fallback = RunFallback()

    def forward(self, x, timesteps, context=None, control=None, transformer_options=None, **kwargs):
        """Velocity of latents ``x`` at ``timesteps`` (B,), with the sign of `_forward`, through the host's wrappers."""
        options = transformer_options or {}
        # The host's EasyCache writes into x, which in float32 is the sampler's own state.
        x = x.clone()
        return comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._forward,
            self,
            comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options),
        ).execute(x, timesteps, context, options, **kwargs)

    def _forward(self, x, t, context, transformer_options, **kwargs) -> torch.Tensor:
        """``t`` is flow time; returns noise - data, the sign of the host's CONST parameterization."""
        raise NotImplementedError


def flow_time(model, timestep: torch.Tensor) -> torch.Tensor:
    """Flow time t = 1 - sigma of the host's timesteps (B,) for ``model``, a BaseModel of the host."""
    # Other nodes may install a sampling object whose timesteps run to 1000.
    return 1.0 - timestep / getattr(model.model_sampling, "multiplier", 1.0)
