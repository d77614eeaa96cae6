"""Guidance of sound: one scale for the video, one for the text, in the host's guider."""

from __future__ import annotations

import comfy.sample
import comfy.samplers
import latent_preview
import node_helpers
import torch
from comfy_api.latest import io

from ..lumina_core.sampling.audio import AudioPlan
from ..lumina_core.sampling.guidance import Guider
from ..lumina_core.sampling.timesteps import to_sigmas
from .host.audio_model import NO_TEXT, NO_VIDEO, audio_model_config
from .names import AUDIO_CATEGORY, schema

DEFAULT_PLAN = AudioPlan()
_PASSES = ("positive", "no_video", "no_text")


class TwoScaleGuider(comfy.samplers.CFGGuider):
    """pos + gv (pos - without video) + gt (pos - the negative text); a pass whose scale is 0 is skipped."""

    def __init__(self, model, positive: list, negative: list, plan: AudioPlan) -> None:
        super().__init__(model)
        # Without a text on either side the pass would be the positive one again.
        speechless = all(entry[1].get(NO_TEXT) for entry in [*positive, *negative])
        self.scales = (plan.video_guidance, 0.0 if speechless else plan.text_guidance)
        without_video = node_helpers.conditioning_set_values(positive, {NO_VIDEO: True})
        other_text = node_helpers.conditioning_set_values(negative, {NO_VIDEO: False})
        self.inner_set_conds(dict(zip(_PASSES, (positive, without_video, other_text), strict=True)))

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        conds = [self.conds["positive"]]
        conds += [self.conds[name] if scale else None for name, scale in zip(_PASSES[1:], self.scales, strict=True)]
        positive, *others = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options or {})
        # Guiding the denoised samples is guiding the velocity: both are x plus the same multiple of it.
        used = [(scale, other) for scale, other in zip(self.scales, others, strict=True) if scale]
        return Guider(tuple(scale for scale, _ in used))(positive, *(other for _, other in used))


def guidance_inputs() -> list[io.Input]:
    """video_guidance and text_guidance."""
    scale = {"min": 0.0, "max": 30.0, "step": 0.1}
    return [
        io.Float.Input(
            "video_guidance",
            default=DEFAULT_PLAN.video_guidance,
            tooltip="Guidance scale of the video, usually 2 to 6: how closely the audio follows the "
            "frames. This is CFG - 1; 0 skips a forward pass.",
            **scale,
        ),
        io.Float.Input(
            "text_guidance",
            default=DEFAULT_PLAN.text_guidance,
            tooltip="Guidance scale of the text, usually 2 to 6: how closely the audio follows the prompt "
            "and avoids the negative prompt. This is CFG - 1; 0 skips a forward pass.",
            **scale,
        ),
    ]


def run(guider: TwoScaleGuider, plan: AudioPlan, latent: dict, seed: int) -> torch.Tensor:
    """Sample with the host's progress bar and interrupt; noise and clock are those of KSampler and of the core."""
    model = guider.model_patcher
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    noise = comfy.sample.prepare_noise(samples, seed)
    callback = latent_preview.prepare_callback(model, plan.steps)
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(noise, samples, sampler, to_sigmas(plan.grid()), callback=callback, seed=seed)


class SoundGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "SoundGuider",
            title="Lumina-Video Audio Guider",
            category=AUDIO_CATEGORY,
            description="Guidance for audio with one scale for the video and one for the text, for "
            "SamplerCustomAdvanced. KSampler's cfg uses one scale for both.",
            aliases=("cfg guider", "video to audio"),
            inputs=[
                io.Model.Input("model", tooltip="From Load Lumina-Video Audio Model."),
                io.Conditioning.Input("positive", tooltip="From Lumina-Video Audio Conditioning."),
                io.Conditioning.Input(
                    "negative", tooltip="From Lumina-Video Audio Conditioning. Only its text is used."
                ),
                *guidance_inputs(),
            ],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, model, positive, negative, video_guidance, text_guidance) -> io.NodeOutput:
        audio_model_config(model)
        plan = AudioPlan(video_guidance=video_guidance, text_guidance=text_guidance)
        return io.NodeOutput(TwoScaleGuider(model, positive, negative, plan))
