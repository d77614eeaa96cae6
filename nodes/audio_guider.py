"""A node for the guidance of audio, with one scale for the video and one for the text."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.sampling.audio import AudioPlan
from .host.audio_guider import TwoScaleGuider
from .host.audio_model import audio_model_config
from .names import AUDIO_CATEGORY, schema

DEFAULT_PLAN = AudioPlan()


def guidance_inputs() -> list[io.Input]:
    """The inputs video_guidance and text_guidance."""
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


class AudioGuider(io.ComfyNode):
    """A GUIDER with a scale for the video and one for the text."""

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
