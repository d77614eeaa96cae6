"""Segments of a run with constant settings. The velocity may jump where a segment ends."""

from __future__ import annotations

import torch

from ..names import MOTION_KEY
from .run_options import RunOptions
from .video_model import LuminaVideoModel


def segment(guider, timestep: torch.Tensor, model_options: dict) -> tuple:
    """Patch size, cfg, motion scores and RoPE scaling of an evaluation; only the cfg for other models.

    Call it while ``guider`` predicts, when the cfg of the step is set.
    """
    model, cfg = guider.inner_model, getattr(guider, "cfg", None)
    if not isinstance(model, LuminaVideoModel):
        return (cfg,)
    options = RunOptions.of_model_options(model_options)
    t = options.time_of(model, timestep)
    patch = options.schedule(model.diffusion_model.config).at(t)
    # At cfg 1 the host skips the negative pass, so its motion score has no effect.
    names = [name for name in guider.conds if cfg != 1.0 or name != "negative"]
    scores = [cond[MOTION_KEY].at(t) for name in names for cond in guider.conds[name] if MOTION_KEY in cond]
    return str(patch), cfg, tuple(scores), options.network.stretch(t)
