"""Stretches of a run in the host that the network answers alike: where one ends, the velocity jumps."""

from __future__ import annotations

import torch

from ...lumina_core.network.forward_options import AS_TRAINED
from ..names import MOTION_KEY, OPTIONS_KEY
from .model_patches import flow_time
from .video_model import LuminaVideoModel


def segment(guider, timestep: torch.Tensor, model_options: dict) -> tuple:
    """Patch size, cfg, motion scores and scaling of positions, read while ``guider`` predicts, when the guidance of the
    step is set.

    Of other models it is the cfg alone.
    """
    options = model_options.get("transformer_options", {})
    model, cfg = guider.inner_model, getattr(guider, "cfg", None)
    if not isinstance(model, LuminaVideoModel):
        return (cfg,)
    t = float(flow_time(model.process_timestep(timestep.flatten()[:1].float()), options)[0])
    schedule = options.get(OPTIONS_KEY, {}).get("patch") or model.diffusion_model.default_patch()
    # At cfg 1 the host leaves the negative pass out, and its motion score says nothing.
    names = [name for name in guider.conds if cfg != 1.0 or name != "negative"]
    scores = [cond[MOTION_KEY].at(t) for name in names for cond in guider.conds[name] if MOTION_KEY in cond]
    network = options.get(OPTIONS_KEY, {}).get("network", AS_TRAINED)
    return str(schedule.at(t)), cfg, tuple(scores), network.stretch(t)
