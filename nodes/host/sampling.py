"""Guiders, noise and sampling with the host's own sampler, which gives progress bar, previews and interrupts."""

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
    """NOISE as in the released code: drawn on CUDA in bf16 with the device's generator; see ``seeded_noise``.

    Args:
        seed: 0 to 2**64 - 1.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def generate_noise(self, latent: dict) -> torch.Tensor:
        """Noise in the shape of a LATENT's samples, float32 on the CPU."""
        device = work_device()
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        return seeded_noise(latent["samples"].shape, self.seed, device, dtype).float().cpu()


def make_guider(model: Any, positive: list, negative: list, guidance: str, renorm: float) -> comfy.samplers.CFGGuider:
    """A native guider whose MODEL has a guidance schedule.

    Args:
        model: a MODEL.
        positive, negative: native conditioning.
        guidance: text of the schedule of the scale g over flow time; the host's cfg is g + 1.
        renorm: upper bound on the norm of the guided velocity, as a multiple of the positive one's; 0 or less is off.

    Raises:
        ScheduleError: ``guidance`` does not parse.
    """
    guider = comfy.samplers.CFGGuider(set_guidance(model, number_schedule("guidance", guidance), renorm))
    guider.set_conds(positive, negative)
    return guider


def sample_video(guider: comfy.samplers.CFGGuider, plan: SamplingPlan, latent: dict, seed: int) -> torch.Tensor:
    """Sample a video with the time grid and the solver of ``plan`` from official noise.

    Args:
        guider: from `make_guider`.
        plan: gives time grid and solver; the schedules are those of the guider's MODEL.
        latent: a native LATENT of zeros.
        seed: of the noise.

    Returns:
        Latents (B, C, F, H, W) for the VAE.
    """
    sampler = comfy.samplers.sampler_object("euler") if plan.solver == "euler" else solver_sampler(plan.solver)
    samples = _like_model(guider, latent)
    noise = OfficialNoise(seed).generate_noise({"samples": samples})
    callback = play(latent_preview.prepare_callback(guider.model_patcher, plan.steps))
    result = guider.sample(noise, samples, sampler, to_sigmas(plan.grid()), callback=callback, seed=seed)
    return to_result_device(result)


def sample_audio(guider: comfy.samplers.CFGGuider, plan: AudioPlan, latent: dict, seed: int) -> torch.Tensor:
    """Sample audio with the time grid of ``plan`` and Euler steps, from the noise of KSampler.

    Returns latents (B, C, rows, bins) for the codec.
    """
    sampler = comfy.samplers.sampler_object("euler")
    samples = _like_model(guider, latent)
    noise = comfy.sample.prepare_noise(samples, seed)
    callback = latent_preview.prepare_callback(guider.model_patcher, plan.steps)
    return guider.sample(noise, samples, sampler, to_sigmas(plan.grid()), callback=callback, seed=seed)


def _like_model(guider: comfy.samplers.CFGGuider, latent: dict) -> torch.Tensor:
    """The samples of a LATENT; empty ones get the channels of the guider's model."""
    return comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"])
