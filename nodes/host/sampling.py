"""Guiders, noise and sampling runs of the host, with its progress bar, previews and interrupt."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.samplers
import latent_preview
import torch

from ...lumina_core.sampling.audio import AudioPlan
from ...lumina_core.sampling.noise import seeded_noise
from ...lumina_core.sampling.plan import SamplingPlan, number_schedule
from ...lumina_core.sampling.timesteps import to_sigmas
from .clip_preview import play
from .devices import to_result_device, work_device
from .model_patches import set_guidance
from .solver import solver_sampler


class OfficialNoise:
    """NOISE as the released code draws it: on CUDA in bf16 with the device's own generator; see ``seeded_noise``."""

    def __init__(self, seed: int):
        self.seed = seed

    def generate_noise(self, latent: dict) -> torch.Tensor:
        """Noise like the samples of a LATENT, float32 on the CPU."""
        device = work_device()
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        return seeded_noise(latent["samples"].shape, self.seed, device, dtype).float().cpu()


def make_guider(model: Any, positive: list, negative: list, guidance: str, renorm: float) -> comfy.samplers.CFGGuider:
    """A native guider on a MODEL that carries the guidance schedule.

    Args:
        positive, negative: native conditioning.
        guidance: schedule of the scale g over flow time, as text; the host's cfg is g + 1.
        renorm: bound on the guided velocity's norm as a multiple of the positive one's; 0 or less is off.

    Raises:
        ScheduleError: ``guidance`` does not parse.
    """
    guider = comfy.samplers.CFGGuider(set_guidance(model, number_schedule("guidance", guidance), renorm))
    guider.set_conds(positive, negative)
    return guider


def sample_video(guider: comfy.samplers.CFGGuider, plan: SamplingPlan, latent: dict, seed: int) -> torch.Tensor:
    """Run the grid and the solver of ``plan`` from official noise; returns latents for the VAE."""
    sampler = comfy.samplers.sampler_object("euler") if plan.solver == "euler" else solver_sampler(plan.solver)
    samples = _like_model(guider, latent)
    noise = OfficialNoise(seed).generate_noise({"samples": samples})
    callback = play(latent_preview.prepare_callback(guider.model_patcher, plan.steps))
    result = guider.sample(noise, samples, sampler, to_sigmas(plan.grid()), callback=callback, seed=seed)
    return to_result_device(result)


def sample_audio(guider: comfy.samplers.CFGGuider, plan: AudioPlan, latent: dict, seed: int) -> torch.Tensor:
    """Run the grid of ``plan`` by Euler's rule, from the noise of KSampler; returns latents for the codec."""
    sampler = comfy.samplers.sampler_object("euler")
    samples = _like_model(guider, latent)
    noise = comfy.sample.prepare_noise(samples, seed)
    callback = latent_preview.prepare_callback(guider.model_patcher, plan.steps)
    return guider.sample(noise, samples, sampler, to_sigmas(plan.grid()), callback=callback, seed=seed)


def _like_model(guider: comfy.samplers.CFGGuider, latent: dict) -> torch.Tensor:
    """The samples of a LATENT, with the channels of the guider's model where they are empty."""
    return comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"])
