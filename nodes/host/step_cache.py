"""The core's step cache for any sampler of the host, with one cache per run."""

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
from .video_model import check_lumina_model

logger = logging.getLogger(__name__)

KEY = OPTIONS_KEY + "_cache"
_Wrappers = comfy.patcher_extension.WrappersMP
# Added to the summary of a run with several evaluations per step.
SEVERAL = "Step cache disabled for this run: the sampler evaluates between the sigmas or several times per step."


def set_step_cache(model, tolerance: float):
    """A clone with a step cache, which replaces an earlier one.

    Args:
        model: a Lumina-Video or Lumina-Next MODEL.
        tolerance: 0 to 1; see ``StepCache``. 0 is off.

    Raises:
        LuminaError: a MODEL of another kind.
    """
    check_lumina_model(model, "Lumina-Video Step Cache")
    model = model.clone()
    model.remove_wrappers_with_key(_Wrappers.OUTER_SAMPLE, KEY)
    if tolerance > 0:
        model.add_wrapper_with_key(_Wrappers.OUTER_SAMPLE, KEY, partial(_run, tolerance))
    return model


def _run(tolerance: float, executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
    """Wrapper of a whole run. The host copies the model options for each run, so the cache ends with it."""
    cached = _CachedRun(tolerance, executor.class_obj, sigmas.tolist())
    options = executor.class_obj.model_options
    # Added last, so it is the innermost wrapper: the cfg of this step is set when it runs.
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
    """The cache of one run. It is used only while the sampler evaluates once at each sigma of the run, in order."""

    def __init__(self, tolerance: float, guider, sigmas: list[float]):
        self.cache = StepCache(tolerance)
        self.guider, self.sigmas = guider, sigmas
        self.step: int | None = 0

    def evaluate(self, executor, x, timestep, model_options, seed):
        """Wrapper of one evaluation: the denoised ``x``, computed or from the cache."""
        sigma = float(timestep.flatten()[0])
        self.step = self._next_step(sigma)
        if self.step is None:
            self.cache.bypass()
            return executor(x, timestep, model_options, seed)
        computed: list[torch.Tensor] = []

        def compute() -> torch.Tensor:
            computed.append(executor(x, timestep, model_options, seed))
            return (computed[0] - x) / sigma

        settings = segment(self.guider, timestep, model_options)
        last = self.step == len(self.sigmas) - 1
        velocity = self.cache.velocity(settings, 1.0 - sigma, x, compute, last)
        # A computed result is returned unchanged: converting it to a velocity and back would round it.
        return computed[0] if computed else x + sigma * velocity

    def summary(self) -> str:
        """One sentence: how many evaluations were reused, and whether the cache was disabled."""
        text = summary(self.cache.reused, self.cache.evaluations)
        return text if self.step is not None else f"{text} {SEVERAL}"

    def _next_step(self, sigma: float) -> int | None:
        """The number of the step, from 1, that begins at ``sigma``; None if it is not the next one."""
        if self.step is None or self.step >= len(self.sigmas) - 1 or sigma <= 0:
            return None
        return self.step + 1 if math.isclose(sigma, self.sigmas[self.step], rel_tol=1e-5) else None
