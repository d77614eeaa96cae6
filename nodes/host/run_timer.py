"""Times every sampler that runs a Lumina-Video MODEL, tells the page, and remembers what it took."""

from __future__ import annotations

from functools import partial

import comfy.model_management
import comfy.patcher_extension
import torch

from ...lumina_core.cost.flops import TYPICAL_TEXT, forward_cost
from ...lumina_core.cost.runtime import Shape, estimate
from ...lumina_core.network.context_drop import dropping_layers
from ...lumina_core.network.forward_options import AS_TRAINED
from ...lumina_core.shapes.latents import LatentSize
from ..names import OPTIONS_KEY
from .messages import PROGRESS, RESULT, executing_node, send, send_text
from .model_patches import flow_time
from .step_timer import Steps
from .timing_store import add_run, model_key, past_runs

KEY = OPTIONS_KEY + "_run"
"""Of our wrappers, and of the run that is being measured in its ``transformer_options``."""
QUIET = "quiet"
"""Beside a patch schedule: the node shows the progress itself, so the host's line of text is not sent."""
_Wrappers = comfy.patcher_extension.WrappersMP


def log_runs(model, weights: str):
    """Measure every sampling run of this model and its clones; ``weights`` is the loader's choice of precision."""
    model.add_wrapper_with_key(_Wrappers.SAMPLER_SAMPLE, KEY, partial(_sample, weights))
    model.add_wrapper_with_key(_Wrappers.PREDICT_NOISE, KEY, _evaluate)
    model.add_wrapper_with_key(_Wrappers.APPLY_MODEL, KEY, _count)
    return model


def show_own_progress(model):
    """A clone for a node with a timeline of its own."""
    model = model.clone()
    options = model.model_options["transformer_options"] = model.model_options.get("transformer_options", {}).copy()
    options[OPTIONS_KEY] = {**options.get(OPTIONS_KEY, {}), QUIET: True}
    return model


def device_name(device: torch.device | None = None) -> str:
    """The device as timings know it."""
    return comfy.model_management.get_torch_device_name(device or comfy.model_management.get_torch_device())


class _Run(Steps):
    """A run with the conditions that are being evaluated right now."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions: set[int] = set()
        self.reused = False


def _sample(weights, executor, guider, sigmas, extra_args, callback, *args, **kwargs):
    """Around a whole run. One that fails or is interrupted leaves by its exception and is not recorded."""
    options = extra_args["model_options"].get("transformer_options", {})
    run, node = _Run(), executing_node()
    noise_levels = sigmas.tolist()
    quiet = options.get(OPTIONS_KEY, {}).get(QUIET, False)

    def end_step(step, x0, x, total):
        if callback is not None:
            callback(step, x0, x, total)
        ended = run.end_step(step + 1, noise_levels[min(step, len(noise_levels) - 1)])
        if ended is not None and node is not None:
            _tell_step(node, ended, total, quiet)

    model_options = {**extra_args["model_options"], "transformer_options": {**options, KEY: run}}
    extra_args = {**extra_args, "model_options": model_options}
    result = executor(guider, sigmas, extra_args, end_step, *args, **kwargs)
    if run.evaluated:
        _synchronize(result.device)
        _finish(run, guider, weights, node, options)
    return result


def _finish(run: _Run, guider, weights: str, node: str | None, options: dict) -> None:
    model = guider.inner_model
    device, key = device_name(guider.model_patcher.load_device), model_key(model.diffusion_model.config)
    summary = run.result(estimate(past_runs(device, key, weights), run.parts()))
    # Caches skip passes, in a wrapper of the network (EasyCache) or before it; their seconds teach nothing.
    if not run.reused and not comfy.patcher_extension.get_all_wrappers(_Wrappers.DIFFUSION_MODEL, options):
        add_run(device, key, weights, str(model.get_dtype()).removeprefix("torch."), run.shapes())
    if node is not None:
        send(RESULT, {"node": node, **summary})


def _tell_step(node: str, step, total: int, quiet: bool) -> None:
    shape = step.main.shape
    text = f"{shape.patch}, step {step.number} of {total}, {'guided' if shape.guided else 'not guided'}"
    told = {"step": step.number, "steps": total, "t": step.main.t, "patch": shape.patch, "guided": shape.guided}
    send(PROGRESS, {"node": node, **told, "text": text})
    if not quiet:
        send_text(node, text)


def _evaluate(executor, x, timestep, model_options, seed):
    """Around one evaluation, both passes together."""
    options = model_options.get("transformer_options", {})
    run = options.get(KEY)
    if run is None or x.ndim != 5:
        return executor(x, timestep, model_options, seed)
    run.conditions.clear()
    denoised = executor(x, timestep, model_options, seed)
    # The host's preview reads the result back in every step anyway, so waiting for it here costs next to nothing.
    _synchronize(x.device)
    model = executor.class_obj.inner_model
    sigma = timestep.flatten()[:1].float()
    t = float(flow_time(model.process_timestep(sigma), options)[0])
    schedule = options.get(OPTIONS_KEY, {}).get("patch") or model.diffusion_model.default_patch()
    guided = len(run.conditions) > 1
    if not run.conditions and run.evaluated:
        # A step cache answered for the network, which it does only where guidance stays as it was.
        run.reused, guided = True, run.evaluated[-1].shape.guided
    config, network = model.diffusion_model.config, options.get(OPTIONS_KEY, {}).get("network", AS_TRAINED)
    dropping = dropping_layers(t, network.context_drop, config.layers)
    shape = make_shape(config, x.shape, schedule.at(t), guided, dropping)
    run.evaluate(float(sigma[0]), t, shape, teaches=not dropping)
    return denoised


def _count(executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
    """Around one call of the network: notes which of the two conditions it computes."""
    options = transformer_options or {}
    if KEY in options:
        options[KEY].conditions.update(options.get("cond_or_uncond", ()))
    return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)


def make_shape(config, shape, patch, guided: bool, dropping: int = 0) -> Shape:
    """The shape of an evaluation over latents of ``shape`` (B, C, F, H, W), ``dropping`` layers with pooled keys."""
    size, batch = LatentSize(*shape[2:]), int(shape[0])
    flops = forward_cost(config, size, patch, TYPICAL_TEXT.positive, dropping).total
    if guided:
        flops += forward_cost(config, size, patch, TYPICAL_TEXT.negative, dropping).total
    return Shape(str(patch), size.tokens(patch), batch, guided, flops * batch)


def _synchronize(device: torch.device) -> None:
    """Wait for the device, so that the clock sees work and not its queueing."""
    if device.type != "cpu":
        module = getattr(torch, device.type, None)
        if hasattr(module, "synchronize"):
            module.synchronize()
