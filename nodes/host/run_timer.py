"""Times every sampling run of a MODEL, reports each step to the page, and stores the run times for estimates."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.patcher_extension
import torch

from ...lumina_core.cost.flops import price_list
from ...lumina_core.cost.runtime import Shape, estimate
from ...lumina_core.network.config import VideoConfig
from ...lumina_core.network.context_drop import dropped_layers
from ...lumina_core.sampling.plan import Evaluation
from ...lumina_core.shapes.latents import LatentSize
from ..names import OPTIONS_KEY
from .messages import PROGRESS, RESULT, executing_node, send, send_text
from .run_options import RunOptions
from .step_timer import Step, StepTimer
from .timing_store import add_run, model_key, past_runs

KEY = OPTIONS_KEY + "_run"  # of the wrappers, and of the TimedRun in transformer_options
_Wrappers = comfy.patcher_extension.WrappersMP


class TimedRun(StepTimer):
    """The timer of one run, with the forward passes of the current evaluation."""

    def __init__(self) -> None:
        super().__init__()
        # Indices of the conditions (0 positive, 1 negative) that the network computed in this evaluation.
        self.conditions: set[int] = set()
        # Whether a step cache has skipped a forward pass in this run.
        self.reused = False


class RunTimer:
    """Times every sampling run of the MODEL on which it is installed, and of its clones.

    The host calls `sample` around a run, `evaluate` around each evaluation (both guidance passes) and `call_network`
    around each forward pass. They share a ``TimedRun``, which `sample` puts into the run's ``transformer_options``.

    Args:
        weight_dtype: the loader's choice of precision, under which the run times are stored.
    """

    def __init__(self, weight_dtype: str):
        self.weight_dtype = weight_dtype

    def install(self, model: Any) -> Any:
        """Add the wrappers to a MODEL; returns it."""
        model.add_wrapper_with_key(_Wrappers.SAMPLER_SAMPLE, KEY, self.sample)
        model.add_wrapper_with_key(_Wrappers.PREDICT_NOISE, KEY, self.evaluate)
        model.add_wrapper_with_key(_Wrappers.APPLY_MODEL, KEY, self.call_network)
        return model

    def sample(self, executor, guider, sigmas, extra_args, callback, *args, **kwargs):
        """Wrapper of a whole run. A run that fails or is interrupted raises here and is not recorded."""
        options = extra_args["model_options"].get("transformer_options", {})
        run, node = TimedRun(), executing_node()
        noise_levels = sigmas.tolist()
        quiet = RunOptions.of(options).quiet

        def end_step(step, x0, x, total):
            if callback is not None:
                callback(step, x0, x, total)
            ended = run.end_step(step + 1, noise_levels[min(step, len(noise_levels) - 1)])
            if ended is not None and node is not None:
                _send_progress(node, ended, total, quiet)

        model_options = {**extra_args["model_options"], "transformer_options": {**options, KEY: run}}
        extra_args = {**extra_args, "model_options": model_options}
        result = executor(guider, sigmas, extra_args, end_step, *args, **kwargs)
        if run.evaluated:
            _synchronize(result.device)
            self._finish(run, guider, node, options)
        return result

    def evaluate(self, executor, x, timestep, model_options, seed):
        """Wrapper of one evaluation, with both guidance passes."""
        options = model_options.get("transformer_options", {})
        run = options.get(KEY)
        if run is None or x.ndim != 5:
            return executor(x, timestep, model_options, seed)
        run.conditions.clear()
        denoised = executor(x, timestep, model_options, seed)
        # The host's preview reads the result back in every step anyway, so waiting for it here costs almost nothing.
        _synchronize(x.device)
        model, run_options = executor.class_obj.inner_model, RunOptions.of(options)
        config, t = model.diffusion_model.config, run_options.time_of(model, timestep)
        guided = len(run.conditions) > 1
        if not run.conditions and run.evaluated:
            # A step cache skipped the forward pass, which it does only if guidance has not changed.
            run.reused, guided = True, run.evaluated[-1].shape.guided
        shape = _shape(config, x.shape, run_options, t, guided)
        # A forward pass with Context Drop costs less than its shape suggests.
        full_cost = not dropped_layers(t, run_options.network.context_drop, config.layers)
        run.evaluate(float(timestep.flatten()[0].float()), t, shape, representative=full_cost)
        return denoised

    def call_network(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ):
        """Wrapper of one forward pass, which records the conditions that it computes."""
        options = transformer_options or {}
        if KEY in options:
            options[KEY].conditions.update(options.get("cond_or_uncond", ()))
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    def _finish(self, run: TimedRun, guider: Any, node: str | None, options: dict) -> None:
        """Store the run's times and send its summary, with the estimate from earlier runs."""
        model = guider.inner_model
        device, key = device_name(guider.model_patcher.load_device), model_key(model.diffusion_model.config)
        summary = run.result(estimate(past_runs(device, key, self.weight_dtype), run.parts()))
        # Caches skip forward passes, in a wrapper of the network (EasyCache) or around it, so their times are not kept.
        if not run.reused and not comfy.patcher_extension.get_all_wrappers(_Wrappers.DIFFUSION_MODEL, options):
            dtype = str(model.get_dtype()).removeprefix("torch.")
            add_run(device, key, self.weight_dtype, dtype, run.shapes())
        if node is not None:
            send(RESULT, {"node": node, **summary})


def device_name(device: torch.device | None = None) -> str:
    """The name under which run times of a device are stored; None is the device on which the host samples."""
    return comfy.model_management.get_torch_device_name(device or comfy.model_management.get_torch_device())


def _send_progress(node: str, step: Step, total: int, quiet: bool) -> None:
    shape = step.main.shape
    text = f"{shape.patch}, step {step.number} of {total}, {'guided' if shape.guided else 'not guided'}"
    event = {"step": step.number, "steps": total, "t": step.main.t, "patch": shape.patch, "guided": shape.guided}
    send(PROGRESS, {"node": node, **event, "text": text})
    if not quiet:
        send_text(node, text)


def _shape(config: VideoConfig, latents: torch.Size, run_options: RunOptions, t: float, guided: bool) -> Shape:
    """The shape of an evaluation at flow time ``t`` over latents (B, C, F, H, W)."""
    size, batch = LatentSize(*latents[2:]), int(latents[0])
    evaluation = Evaluation(
        step=0,
        t=t,
        patch=run_options.schedule(config).at(t),
        guidance=float(guided),
        motion=None,
        negative_motion=None,
        context_drop=run_options.network.context_drop,
    )
    patch = evaluation.patch
    flops = price_list(config, size)(evaluation, patch)
    return Shape.of(patch, size.tokens(patch), batch, guided, flops)


def _synchronize(device: torch.device) -> None:
    """Wait for the device, so that the clock measures the work itself and not its submission."""
    if device.type != "cpu":
        module = getattr(torch, device.type, None)
        if module is not None and hasattr(module, "synchronize"):
            module.synchronize()
