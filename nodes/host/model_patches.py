"""Patches that the nodes apply to a clone of a MODEL, through the host's own extension points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import comfy.patcher_extension
import torch

from ...lumina_core.sampling.guidance import bound_norm
from ...lumina_core.sampling.loop import check_velocity
from ...lumina_core.shapes.schedules import PatchSize, Piecewise
from ..names import OPTIONS_KEY
from .per_run import sigmas_of_run
from .run_options import RunOptions, with_options

PREDICT_NOISE = comfy.patcher_extension.WrappersMP.PREDICT_NOISE


def set_patch_schedule(model, schedule: Piecewise[PatchSize]):
    """A clone with this patch schedule. Raises LuminaError for a patch size that the checkpoint does not have."""
    config = model.model.diffusion_model.config
    for patch in schedule.values:
        config.check_patch(patch)
    return with_options(model, patch=schedule)


def set_network(model, **changes):
    """A clone with these fields of ``NetworkOptions`` changed. Raises LuminaError if one is out of range."""
    before = RunOptions.of_model_options(model.model_options).network
    return with_options(model, network=replace(before, **changes))


def set_guidance(model, guidance: Piecewise[float | None], renorm: float):
    """A clone with a guidance schedule, which replaces the cfg of any sampler.

    Args:
        model: a MODEL.
        guidance: scale g over flow time. Where it is 0 or None, cfg is 1 and the host skips the negative pass.
        renorm: upper bound on the norm of the guided velocity, as a multiple of the positive one's; 0 or less is off.
    """
    model = model.clone()
    model.remove_wrappers_with_key(PREDICT_NOISE, OPTIONS_KEY)
    model.add_wrapper_with_key(PREDICT_NOISE, OPTIONS_KEY, _scheduled_cfg(guidance))
    kept = [f for f in model.model_options.get("sampler_post_cfg_function", []) if not isinstance(f, _Renorm)]
    model.model_options["sampler_post_cfg_function"] = kept + ([_Renorm(renorm)] if renorm > 0 else [])
    return model


def guard_first_step(model, check: Callable[[torch.Tensor], None] = check_velocity):
    """Fail after the first step of any sampler on NaN or a constant frame, instead of returning a black clip.

    Args:
        model: a MODEL, which is changed and returned.
        check: raises LuminaError for such a velocity (B, C, F, H, W).
    """
    model.add_wrapper_with_key(PREDICT_NOISE, OPTIONS_KEY + "_guard", partial(_guard, check))
    return model


def _scheduled_cfg(guidance: Piecewise[float | None]):
    def wrapper(executor, x, timestep, model_options, seed):
        guider = executor.class_obj
        t = RunOptions.of_model_options(model_options).time_of(guider.inner_model, timestep)
        before = guider.cfg
        guider.cfg = 1.0 + max(0.0, guidance.at(t) or 0.0)
        try:
            return executor(x, timestep, model_options, seed)
        finally:
            guider.cfg = before

    return wrapper


class _Renorm:
    """A post-CFG hook of the host. It is a class so that a second guidance node finds and replaces the first one's."""

    def __init__(self, renorm: float):
        self.renorm = renorm

    def __call__(self, args: dict) -> torch.Tensor:
        x = args["input"]
        # x - denoised is the velocity times -sigma; sigma is the same for both, so it cancels.
        return x - bound_norm(x - args["denoised"], x - args["cond_denoised"], self.renorm)


def _guard(check, executor, x, timestep, model_options, seed):
    denoised = executor(x, timestep, model_options, seed)
    sigmas = sigmas_of_run(model_options.get("transformer_options"))
    if sigmas is None or bool(torch.isclose(timestep.flatten()[0].cpu(), sigmas[0].cpu())):
        check(denoised - x)
    return denoised
