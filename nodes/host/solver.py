"""The core's solvers as a native SAMPLER.

The loop here is not that of ``lumina_core.sampling.loop``: it uses the exact sigmas of any scheduler, which 1 - t would
round, and the host's callback takes the latents before a step.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial

import comfy.patcher_extension
import comfy.samplers
import torch

from ...lumina_core.sampling.solvers import SOLVERS, SolverRun
from ..names import OPTIONS_KEY
from .run_options import change_options
from .segments import segment

# At smaller sigmas the host's denoised output contains too little of the velocity to recover it with enough precision.
LAST_SIGMA = 0.01
KEY = OPTIONS_KEY + "_solver"


def solver_sampler(name: str) -> comfy.samplers.KSAMPLER:
    """The core solver ``name`` (a key of ``SOLVERS``) as a native SAMPLER, for the sigmas of any scheduler."""
    solver = SOLVERS[name]

    def sample(model, x, sigmas, extra_args, callback=None, disable=None):
        run = SolverRun(solver, _watch_segments(model.inner_model) if solver.memory else lambda t: None)
        for index in range(len(sigmas) - 1):
            t0, t1 = 1.0 - sigmas[index], 1.0 - sigmas[index + 1]
            velocity = partial(_velocity, model, extra_args, sigmas[index], t0)
            following, v = run.step(velocity, x, t0, t1)
            if callback is not None:
                callback({"x": x, "i": index, "sigma": sigmas[index], "denoised": x + sigmas[index] * v})
            x = following
        return x

    return comfy.samplers.KSAMPLER(sample)


def _velocity(model, extra_args: dict, sigma: torch.Tensor, start: torch.Tensor, t: torch.Tensor, state: torch.Tensor):
    """The velocity (B, ...) of ``state`` at t, in a step that starts at time ``start`` with ``sigma``."""
    if t != start:
        sigma = 1.0 - t
        if sigma < LAST_SIGMA:
            sigma = torch.full_like(sigma, LAST_SIGMA)
            extra_args = {**extra_args, "model_options": change_options(extra_args["model_options"], exact_t=float(t))}
    sigmas = sigma * state.new_ones([len(state)])
    return (model(state, sigmas, **extra_args) - _network_input(model, extra_args, sigmas, state)) / sigma


def _network_input(model, extra_args: dict, sigmas: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The state as the network gets it: the host resets the masked region to the noise level of the call."""
    mask = extra_args.get("denoise_mask")
    if mask is None:
        return state
    if hook := extra_args["model_options"].get("denoise_mask_function"):
        mask = hook(sigmas, mask, extra_options={"model": model.inner_model, "sigmas": model.sigmas})
    known = model.inner_model.inner_model.scale_latent_inpaint(
        x=state, sigma=sigmas, noise=model.noise, latent_image=model.latent_image, denoise_mask=mask
    )
    return state * mask + known * (1.0 - mask)


def _watch_segments(guider):
    """A function that returns the segment of the latest evaluation, for ``SolverRun``."""
    latest: list[Hashable] = [None]

    def wrapper(executor, x, timestep, model_options, seed):
        latest[0] = segment(executor.class_obj, timestep, model_options)
        return executor(x, timestep, model_options, seed)

    # Added last, so it is the innermost wrapper: the cfg of this step is set when it runs.
    comfy.patcher_extension.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.PREDICT_NOISE, KEY, wrapper, guider.model_options, is_model_options=True
    )
    return lambda t: latest[0]
