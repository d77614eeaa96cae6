"""The core's step cache around any sampler of the host; it lives as long as the run."""

from __future__ import annotations

import logging
import math
from functools import partial

import comfy.patcher_extension
import torch

from ...lumina_core.sampling.step_cache import StepCache, summary
from ..names import OPTIONS_KEY
from .messages import executing_node, send_text
from .segments import segment
from .video_model import check_ours

logger = logging.getLogger(__name__)

KEY = OPTIONS_KEY + "_cache"
_Wrappers = comfy.patcher_extension.WrappersMP
SEVERAL = "Step cache disabled for this run: the sampler evaluates between the sigmas or several times per step."


def set_step_cache(model, tolerance: float):
    """A clone whose runs have a step cache, in place of one set before; 0 is none.

    Raises LuminaError on a MODEL of another kind.
    """
    check_ours(model, "Lumina-Video Step Cache")
    model = model.clone()
    model.remove_wrappers_with_key(_Wrappers.OUTER_SAMPLE, KEY)
    if tolerance > 0:
        model.add_wrapper_with_key(_Wrappers.OUTER_SAMPLE, KEY, partial(_run, tolerance))
    return model


def _run(tolerance: float, executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
    """Around a whole run, whose model options are a copy that the host drops at its end."""
    cached = _CachedRun(tolerance, executor.class_obj, sigmas.tolist())
    options = executor.class_obj.model_options
    # Added last, so nearest to the network: the guidance of this step is set when it is called.
    comfy.patcher_extension.add_wrapper_with_key(
        _Wrappers.PREDICT_NOISE, KEY, cached.evaluate, options, is_model_options=True
    )
    result = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
    text = cached.summary()
    logger.info("Lumina-Video Step Cache: %s", text)
    if (node := executing_node()) is not None:
        send_text(node, text)
    return result


class _CachedRun:
    """One run's cache, for samplers that evaluate once at each of the run's sigmas; it is off in any other order."""

    def __init__(self, tolerance: float, guider, sigmas: list[float]):
        self.cache = StepCache(tolerance)
        self.guider, self.sigmas = guider, sigmas
        self.step: int | None = 0

    def evaluate(self, executor, x, timestep, model_options, seed):
        """Denoised ``x``, from the network or from the cache."""
        sigma = float(timestep.flatten()[0])
        self.step = self._following_step(sigma)
        if self.step is None:
            self.cache.bypass()
            return executor(x, timestep, model_options, seed)
        computed: list[torch.Tensor] = []

        def compute() -> torch.Tensor:
            computed.append(executor(x, timestep, model_options, seed))
            return (computed[0] - x) / sigma

        asked = segment(self.guider, timestep, model_options)
        last = self.step == len(self.sigmas) - 1
        velocity = self.cache.velocity(asked, 1.0 - sigma, x, compute, last)
        # A computed result is handed on unchanged, without the rounding of going through the velocity.
        return computed[0] if computed else x + sigma * velocity

    def summary(self) -> str:
        """How many evaluations were reused, or why the rest could not be."""
        text = summary(self.cache.reused, self.cache.evaluations)
        return text if self.step is not None else f"{text} {SEVERAL}"

    def _following_step(self, sigma: float) -> int | None:
        """The number of the step, from 1, that begins at ``sigma``; None where it does not follow on those before."""
        if self.step is None or self.step >= len(self.sigmas) - 1 or sigma <= 0:
            return None
        return self.step + 1 if math.isclose(sigma, self.sigmas[self.step], rel_tol=1e-5) else None
