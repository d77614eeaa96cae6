"""Stretches of a run in the host that the network answers alike: where one ends, the velocity jumps."""

from __future__ import annotations

import torch

from ..names import MOTION_KEY
from .run_options import RunOptions
from .video_model import LuminaVideoModel


def segment(guider, timestep: torch.Tensor, model_options: dict) -> tuple:
    """Patch size, cfg, motion scores and scaling of positions, read while ``guider`` predicts, when the guidance of the
    step is set.

    Of other models it is the cfg alone.
    """
    model, cfg = guider.inner_model, getattr(guider, "cfg", None)
    if not isinstance(model, LuminaVideoModel):
        return (cfg,)
    options = RunOptions.of_model_options(model_options)
    t = options.time_of(model, timestep)
    patch = options.schedule(model.diffusion_model.config).at(t)
    # At cfg 1 the host leaves the negative pass out, and its motion score says nothing.
    names = [name for name in guider.conds if cfg != 1.0 or name != "negative"]
    scores = [cond[MOTION_KEY].at(t) for name in names for cond in guider.conds[name] if MOTION_KEY in cond]
    return str(patch), cfg, tuple(scores), options.network.stretch(t)
