"""The core's step cache around any sampler of the host; what it keeps lives as long as the run."""

from __future__ import annotations

import logging
import math
from functools import partial

import comfy.patcher_extension
import torch
from comfy_api.latest import io

from ..lumina_core.sampling import step_cache
from .host.messages import executing_node, send_text
from .host.segments import segment
from .host.video_model import check_ours
from .names import OPTIONS_KEY, schema

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
    logging.info("Lumina-Video Step Cache: %s", text)
    if (node := executing_node()) is not None:
        send_text(node, text)
    return result


class _CachedRun:
    """One run's cache. It goes along the run's sigmas, one evaluation for each, and stands aside in any other order."""

    def __init__(self, tolerance: float, guider, sigmas: list[float]):
        self.cache = step_cache.StepCache(tolerance)
        self.guider, self.sigmas = guider, sigmas
        self.step: int | None = 0
        self.evaluations = 0

    def evaluate(self, executor, x, timestep, model_options, seed):
        """Denoised ``x``, from the network or foretold."""
        self.evaluations += 1
        sigma = float(timestep.flatten()[0])
        if not self._is_next(sigma):
            self.step = None
            return executor(x, timestep, model_options, seed)
        self.step += 1
        computed: list[torch.Tensor] = []

        def compute() -> torch.Tensor:
            computed.append(executor(x, timestep, model_options, seed))
            return (computed[0] - x) / sigma

        stretch = segment(self.guider, timestep, model_options)
        last = self.step == len(self.sigmas) - 1
        velocity = self.cache.velocity(stretch, 1.0 - sigma, x, compute, last)
        # What was computed goes on as it came, to the last digit.
        return computed[0] if computed else x + sigma * velocity

    def summary(self) -> str:
        """How many evaluations were reused, or why the rest could not be."""
        text = step_cache.summary(self.cache.reused, self.evaluations)
        return text if self.step is not None else f"{text} {SEVERAL}"

    def _is_next(self, sigma: float) -> bool:
        steps = len(self.sigmas) - 1
        return (
            self.step is not None
            and self.step < steps
            and sigma > 0
            and math.isclose(sigma, self.sigmas[self.step], rel_tol=1e-5)
        )


class StepCache(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "StepCache",
            title="Lumina-Video Step Cache",
            description="Skips the forward pass in steps where the velocity can be extrapolated from earlier "
            "steps, in samplers that evaluate once per step. Faster but not exact: see the help page for "
            "speed and quality. It restarts wherever the patch size, guidance or motion score changes.",
            aliases=("easycache", "teacache", "speed up", "faster", "skip steps"),
            inputs=[
                io.Model.Input("model", tooltip="A Lumina-Video MODEL."),
                io.Float.Input(
                    "tolerance",
                    default=step_cache.RECOMMENDED,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Largest relative change of the velocity at which a step is skipped. Higher is faster "
                    "and less exact; typically 0.2, 0 is off.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with the step cache.")],
        )

    @classmethod
    def execute(cls, model, tolerance) -> io.NodeOutput:
        return io.NodeOutput(set_step_cache(model, tolerance))
