"""Nodes for the steps of Video to Audio: conditioning, empty latent, and decoding."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..lumina_core.audio.features import short_clip_notice
from ..lumina_core.audio.waveform import SILENT, check_loudness, is_silent, normalize_loudness
from ..lumina_core.errors import LuminaError
from ..lumina_core.network.audio_config import AudioConfig
from ..lumina_core.shapes.audio_rates import LATENT_RATE, SAMPLE_RATE
from .audio_inputs import ABSENT, clip_fault, clip_features, clip_inputs
from .audio_loaders import Codec, Features
from .host.audio_model import NO_TEXT, NO_VIDEO, SYNC, VISUAL
from .host.audio_parts import HostCodec, HostFeatures
from .host.devices import result_device, to_result_device
from .host.node_ui import warn
from .inputs import first_fault
from .names import AUDIO_CATEGORY, AUDIO_KEY, schema

# Key of a LATENT: the length of its audio, which the number of latent frames gives only rounded up.
SECONDS = AUDIO_KEY + "_seconds"
# Seconds; the upper end of the widgets. The features of one clip cover less, see `check_seconds` of the core.
LONGEST = 600.0


def prompt_inputs() -> list[io.Input]:
    """The inputs prompt and negative_prompt."""
    return [
        io.String.Input(
            "prompt",
            multiline=True,
            dynamic_prompts=True,
            tooltip="Audio prompt: what should be heard. Leave empty to condition on the video only.",
        ),
        io.String.Input("negative_prompt", multiline=True, tooltip="What should not be heard; may be empty."),
    ]


def loudness_input() -> io.Input:
    """The input loudness. It is optional, so it comes last in a node."""
    return io.Float.Input(
        "loudness",
        default=0.0,
        min=-70.0,
        max=0.0,
        step=0.5,
        optional=True,
        tooltip="Target loudness in LUFS, such as -16; less if the audio would clip. 0 leaves the level unchanged.",
    )


def loudness_fault(lufs: float | None) -> bool | str:
    """The result of ``validate_inputs`` for a loudness in LUFS: True or an error message."""
    return first_fault(lambda: check_loudness(lufs or None))


def audio_conditioning(
    features: HostFeatures, prompt: str, negative_prompt: str, fps: float, images: object, video: object
) -> tuple[list, list, float, list[str]]:
    """Positive and negative conditioning, the clip's length in seconds, and warnings about the clip.

    The negative conditioning also leaves out the video, so that one cfg guides by text and video.

    Args:
        features: the loaded encoders.
        prompt, negative_prompt: texts; may be empty.
        fps: frame rate of ``images``.
        images, video: an IMAGE or a VIDEO; the other is ``ABSENT``.

    Raises:
        LuminaError: the clip cannot be read or is too short.
    """
    clip, warnings = clip_features(features, fps, images, video)
    warnings += filter(None, [short_clip_notice(clip.seconds)])
    texts, masks = features.loaded().text([prompt, negative_prompt])
    seen = {VISUAL: to_result_device(clip.visual), SYNC: to_result_device(clip.sync)}

    def entry(index: int, text: str, **more: bool) -> list:
        features, mask = (to_result_device(rows[index : index + 1]) for rows in (texts, masks))
        # An empty prompt selects the network's learned embedding for no text, not a text without tokens.
        return [[features, {**seen, "attention_mask": mask, NO_TEXT: not text.strip(), **more}]]

    positive = entry(0, prompt)
    negative = entry(1, negative_prompt, **{NO_VIDEO: True})
    return positive, negative, clip.seconds, warnings


def empty_audio(seconds: float, batch_size: int, config: AudioConfig | None = None) -> dict:
    """A native LATENT of zeros for audio of this length in seconds. Samplers adapt its channels to their model."""
    config = config or AudioConfig()
    shape = (batch_size, config.channels, config.latent_frames(seconds), config.bins)
    return {"samples": torch.zeros(shape, device=result_device()), SECONDS: seconds, "type": "audio"}


def decode_audio(codec: HostCodec, latent: dict, lufs: float, seconds: float = 0.0) -> tuple[dict, list[str]]:
    """Decode a LATENT to AUDIO, mono at 16 kHz, with warnings about it.

    Args:
        codec: the loaded codec.
        latent: with samples (B, C, latent frames, mel bins).
        lufs: target loudness in LUFS; 0 leaves the level unchanged.
        seconds: exact length of the audio; 0 is that of the latent.

    Raises:
        LuminaError: the latents have another shape or are not finite.
    """
    samples = latent["samples"]
    if not bool(torch.isfinite(samples).all()):
        raise LuminaError(
            "samples contains NaN or infinite values; sample again with lower guidance or another dtype.",
            field="samples",
            kind="numerics",
        )
    seconds = seconds or latent.get(SECONDS) or samples.shape[-2] / LATENT_RATE
    waveform = codec.decode(samples, round(seconds * SAMPLE_RATE))
    if lufs:
        waveform = normalize_loudness(waveform, lufs)
    return {"waveform": waveform[:, None], "sample_rate": SAMPLE_RATE}, [SILENT] * is_silent(waveform)


class AudioConditioning(io.ComfyNode):
    """Conditioning of the audio model from a clip and prompts."""

    TITLE = "Lumina-Video Audio Conditioning"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "SoundConditioning",
            title=cls.TITLE,
            category=AUDIO_CATEGORY,
            description="Encodes the frames of a clip and the prompts as conditioning for the audio model, "
            "for KSampler or Lumina-Video Audio Guider.",
            aliases=("video to audio", "foley", "prompt", "mmaudio", "sfx"),
            inputs=[
                Features.Input("features", tooltip="From Load Lumina-Video Feature Encoders."),
                *prompt_inputs(),
                *clip_inputs(),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="Conditioning on the video and the prompt."),
                io.Conditioning.Output("negative", tooltip="Conditioning on the negative prompt, without the video."),
                io.Float.Output("seconds", tooltip="Length of the clip, for Empty Lumina-Video Audio Latent."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, fps=None, images=ABSENT, video=ABSENT):
        return clip_fault(cls.TITLE, fps, images, video)

    @classmethod
    def execute(cls, features, prompt, negative_prompt, fps, images=ABSENT, video=ABSENT) -> io.NodeOutput:
        positive, negative, seconds, warnings = audio_conditioning(
            features, prompt, negative_prompt, fps, images, video
        )
        return io.NodeOutput(positive, negative, seconds, ui=warn(cls, cls.TITLE, warnings))


class EmptyAudioLatent(io.ComfyNode):
    """An empty audio LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "EmptySoundLatent",
            title="Empty Lumina-Video Audio Latent",
            category=AUDIO_CATEGORY,
            description="An empty audio latent: as long as the clip, or shorter.",
            aliases=("empty latent audio", "duration", "empty audio", "seconds"),
            inputs=[
                io.Float.Input(
                    "seconds",
                    default=4.0,
                    min=0.1,
                    max=LONGEST,
                    step=0.001,
                    tooltip="Length of the audio in seconds. Connect seconds of Lumina-Video Audio Conditioning, "
                    "or enter a shorter length.",
                ),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="Number of audio clips in the batch."),
            ],
            outputs=[io.Latent.Output(tooltip="Connect to any sampler with an audio model.")],
        )

    @classmethod
    def execute(cls, seconds, batch_size) -> io.NodeOutput:
        return io.NodeOutput(empty_audio(seconds, batch_size))


class DecodeAudio(io.ComfyNode):
    """Audio latents to AUDIO."""

    TITLE = "Lumina-Video Decode Audio"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DecodeSound",
            title=cls.TITLE,
            category=AUDIO_CATEGORY,
            description="Decodes audio latents to AUDIO: mono, 16 kHz, with exactly the requested length.",
            aliases=("vae decode audio", "vocoder", "decode audio"),
            inputs=[
                io.Latent.Input("samples", tooltip="From a sampler with an audio model."),
                Codec.Input("codec", tooltip="From Load Lumina-Video Audio Codec."),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=0.0,
                    max=LONGEST,
                    step=0.001,
                    tooltip="Length of the audio in seconds; 0 uses the length of the latent.",
                ),
                loudness_input(),
            ],
            outputs=[io.Audio.Output(tooltip="For Create Video, Preview Audio and Save Audio.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, loudness=None):
        return loudness_fault(loudness)

    @classmethod
    def execute(cls, samples, codec, seconds, loudness=0.0) -> io.NodeOutput:
        audio, warnings = decode_audio(codec, samples, loudness, seconds)
        return io.NodeOutput(audio, ui=warn(cls, cls.TITLE, warnings))
