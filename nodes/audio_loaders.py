"""Loaders for Video to Audio: the network as a native MODEL, feature encoders and codec as custom types."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.audio.feature_config import read_feature_widths
from .host.audio_files import (
    audio_models,
    codecs,
    features,
    find_audio_model,
    find_codec,
    find_features,
    stamp_of_entry,
)
from .host.audio_model import check_file, load_audio
from .host.audio_parts import HostCodec, HostFeatures, check_codec_file
from .inputs import first_fault
from .names import AUDIO_CATEGORY, AUDIO_CODEC, AUDIO_FEATURES, schema

Codec = io.Custom(AUDIO_CODEC)
Features = io.Custom(AUDIO_FEATURES)


class AudioModelLoader(io.ComfyNode):
    """An audio checkpoint as a MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LoadSoundModel",
            title="Load Lumina-Video Audio Model",
            category=AUDIO_CATEGORY,
            description="Loads a Lumina-V2A (video-to-audio) checkpoint as a MODEL for KSampler and the other "
            "samplers of ComfyUI, with Lumina-Video Audio Conditioning. No weights were released: use the "
            "bundled mini model or train your own.",
            aliases=("video to audio", "v2a", "checkpoint", "audio model", "mmaudio"),
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=audio_models(),
                    tooltip="The bundled mini model, or a .safetensors in models/diffusion_models that this "
                    "pack's trainer wrote.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="For Lumina Video to Audio, Lumina-Video Audio Guider or KSampler.")],
        )

    @classmethod
    def validate_inputs(cls, model_name):
        return first_fault(lambda: check_file(find_audio_model(model_name)))

    @classmethod
    def fingerprint_inputs(cls, model_name):
        return stamp_of_entry(find_audio_model, model_name)

    @classmethod
    def execute(cls, model_name) -> io.NodeOutput:
        return io.NodeOutput(load_audio(find_audio_model(model_name)))


class FeatureEncodersLoader(io.ComfyNode):
    """The feature encoders of the audio model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LoadSoundFeatures",
            title="Load Lumina-Video Feature Encoders",
            category=AUDIO_CATEGORY,
            description="Loads the encoders that condition the audio model: CLIP for the frames and the "
            "prompt, and Synchformer's visual encoder for timing.",
            aliases=("clip", "synchformer", "video to audio"),
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=features(),
                    tooltip="The bundled encoders, or a folder in models/clip_vision with clip/ and sync/. They "
                    "must be the encoders that the audio model was trained with.",
                ),
            ],
            outputs=[
                Features.Output("features", tooltip="For Lumina Video to Audio or Lumina-Video Audio Conditioning.")
            ],
        )

    @classmethod
    def validate_inputs(cls, folder):
        return first_fault(lambda: read_feature_widths(find_features(folder)))

    @classmethod
    def fingerprint_inputs(cls, folder):
        return stamp_of_entry(find_features, folder)

    @classmethod
    def execute(cls, folder) -> io.NodeOutput:
        return io.NodeOutput(HostFeatures(find_features(folder)))


class AudioCodecLoader(io.ComfyNode):
    """The audio codec: VAE and vocoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LoadSoundCodec",
            title="Load Lumina-Video Audio Codec",
            category=AUDIO_CATEGORY,
            description="Loads the VAE and vocoder that turn audio latents into a 16 kHz waveform: those of "
            "AudioLDM, or the small bundled ones.",
            aliases=("audio vae", "vocoder", "audioldm", "load audio vae"),
            inputs=[
                io.Combo.Input(
                    "codec_name",
                    options=codecs(),
                    tooltip="The bundled codec, a folder in models/vae with vae/ and vocoder/, or AudioLDM's "
                    "single file. It must be the codec that the audio model was trained with.",
                ),
            ],
            outputs=[Codec.Output("codec", tooltip="For Lumina Video to Audio or Lumina-Video Decode Audio.")],
        )

    @classmethod
    def validate_inputs(cls, codec_name):
        return first_fault(lambda: check_codec_file(find_codec(codec_name)))

    @classmethod
    def fingerprint_inputs(cls, codec_name):
        return stamp_of_entry(find_codec, codec_name)

    @classmethod
    def execute(cls, codec_name) -> io.NodeOutput:
        return io.NodeOutput(HostCodec(find_codec(codec_name)))
