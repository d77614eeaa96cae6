"""The all-in-one node for Video to Audio: a clip to its audio."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.errors import LuminaError
from ..lumina_core.sampling.audio import AudioPlan
from .audio_conditioning import (
    audio_conditioning,
    decode_audio,
    empty_audio,
    loudness_fault,
    loudness_input,
    prompt_inputs,
)
from .audio_guider import DEFAULT_PLAN, guidance_inputs
from .audio_inputs import ABSENT, clip_fault, clip_inputs
from .audio_loaders import Codec, Features
from .host.audio_guider import TwoScaleGuider
from .host.audio_model import audio_model_config
from .host.audio_parts import HostCodec
from .host.node_ui import warn
from .host.sampling import sample_audio
from .inputs import seed_input
from .names import AUDIO_CATEGORY, schema


class VideoToAudio(io.ComfyNode):
    """AUDIO for a clip and prompts."""

    TITLE = "Lumina Video to Audio"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VideoToAudio",
            title=cls.TITLE,
            category=AUDIO_CATEGORY,
            description="Generates audio that is synchronized with a clip: mono, 16 kHz, as long as the clip. "
            "Connect AUDIO and the frames to Create Video, then Save Video.",
            aliases=("foley", "v2a", "sound", "all in one", "mmaudio", "sfx", "sound effects", "video to audio"),
            inputs=[
                io.Model.Input("model", tooltip="From Load Lumina-Video Audio Model."),
                Features.Input("features", tooltip="From Load Lumina-Video Feature Encoders."),
                Codec.Input("codec", tooltip="From Load Lumina-Video Audio Codec."),
                *prompt_inputs(),
                io.Int.Input(
                    "steps",
                    default=DEFAULT_PLAN.steps,
                    min=1,
                    max=1000,
                    tooltip="Number of sampling steps, typically 25. More steps are slower and more accurate.",
                ),
                *guidance_inputs(),
                seed_input("the noise"),
                *clip_inputs(),
                loudness_input(),
            ],
            outputs=[io.Audio.Output(tooltip="For Create Video, Preview Audio and Save Audio.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, fps=None, images=ABSENT, video=ABSENT, loudness=None):
        fault = clip_fault(cls.TITLE, fps, images, video)
        return loudness_fault(loudness) if fault is True else fault

    @classmethod
    def execute(
        cls,
        model,
        features,
        codec,
        prompt,
        negative_prompt,
        steps,
        video_guidance,
        text_guidance,
        seed,
        fps,
        images=ABSENT,
        video=ABSENT,
        loudness=0.0,
    ) -> io.NodeOutput:
        config = audio_model_config(model)
        check_codec(config.channels, codec)
        config.check_features(*features.encoder.widths)
        plan = AudioPlan(steps=steps, video_guidance=video_guidance, text_guidance=text_guidance)
        positive, negative, seconds, warnings = audio_conditioning(
            features, prompt, negative_prompt, fps, images, video
        )
        latent = empty_audio(seconds, 1, config)
        latent["samples"] = sample_audio(TwoScaleGuider(model, positive, negative, plan), plan, latent, seed)
        audio, silent = decode_audio(codec, latent, loudness)
        return io.NodeOutput(audio, ui=warn(cls, cls.TITLE, warnings + silent))


def check_codec(channels: int, codec: HostCodec) -> None:
    """Raise LuminaError (kind mismatch) unless the codec's latents have this number of channels."""
    if codec.codec.channels != channels:
        raise LuminaError(
            f"The latents of the codec have {codec.codec.channels} channels, but the audio model has {channels}; "
            "load the codec that it was trained with.",
            field="codec",
            kind="mismatch",
        )
