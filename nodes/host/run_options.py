"""Options that the nodes set for a sampling run, as one frozen value in the host's ``transformer_options``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...lumina_core.network.config import VideoConfig
from ...lumina_core.network.forward_options import AS_TRAINED, NetworkOptions
from ...lumina_core.shapes.schedules import PatchSize, Piecewise
from ..names import OPTIONS_KEY


@dataclass(frozen=True)
class RunOptions:
    """Options of a run. The defaults are those of a MODEL without any patch of this pack.

    Args:
        patch: patch size over flow time; None is the checkpoint's finest throughout.
        network: options of the forward pass.
        exact_t: flow time that the network and the guidance use instead of the one that follows from the sigma of the
            call. A denoised sample at sigma 0 no longer contains the velocity, so a solver that evaluates t = 1 calls
            the model at a small sigma and passes the time here.
        quiet: the sampling node shows its own progress, so the host's line of progress text is not sent.
    """

    patch: Piecewise[PatchSize] | None = None
    network: NetworkOptions = AS_TRAINED
    exact_t: float | None = None
    quiet: bool = False

    @classmethod
    def of(cls, transformer_options: Mapping[str, Any] | None) -> RunOptions:
        """The options of a run, from the ``transformer_options`` that the host passes to every forward pass."""
        return (transformer_options or {}).get(OPTIONS_KEY) or cls()

    @classmethod
    def of_model_options(cls, model_options: Mapping[str, Any]) -> RunOptions:
        """The same, from the options of a MODEL or a guider."""
        return cls.of(model_options.get("transformer_options"))

    def schedule(self, config: VideoConfig) -> Piecewise[PatchSize]:
        """Patch size over flow time for a network with this config."""
        return self.patch or Piecewise.constant(config.patches[0])

    def flow_time(self, t: torch.Tensor) -> torch.Tensor:
        """``t`` (B,), or ``exact_t`` where it is set."""
        return t if self.exact_t is None else torch.full_like(t, self.exact_t)

    def time_of(self, model: Any, sigma: torch.Tensor) -> float:
        """Flow time of an evaluation of ``model``, a BaseModel of the host, at ``sigma`` (B,)."""
        return float(self.flow_time(model.process_timestep(sigma.flatten()[:1].float()))[0])


def change_options(model_options: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of the options of a MODEL or a run, with these fields of ``RunOptions`` changed."""
    options = model_options.get("transformer_options", {})
    changed = replace(RunOptions.of(options), **changes)
    return {**model_options, "transformer_options": {**options, OPTIONS_KEY: changed}}


def with_options(model: Any, **changes: Any) -> Any:
    """A clone of a MODEL with these fields of ``RunOptions`` changed."""
    model = model.clone()
    model.model_options = change_options(model.model_options, **changes)
    return model
