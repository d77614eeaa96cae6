"""From a video to its sound: features, latents, waveform, and a file with both; one network in memory at a time.

As in ``pipeline``, everything that can be wrong is looked for before anything heavy is loaded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch

from ..audio.codec_loader import AudioCodec, load_audio_codec, read_codec_channels
from ..audio.feature_config import read_feature_widths
from ..audio.features import (
    FeatureEncoder,
    VideoFeatures,
    check_seconds,
    load_feature_encoder,
    load_features,
    save_features,
    shortness,
)
from ..audio.files import check_mux, has_audio, mux, write_wav
from ..audio.frame_times import check_fps, check_frames
from ..audio.mel import SAMPLE_RATE
from ..audio.waveform import check_loudness, is_silent, loudness
from ..checkpoints.audio import CHECKPOINT_NAME, find_audio_weights, load_audio_model, read_audio_config
from ..errors import LuminaError
from ..media.reader import probe
from ..media.writer import check_target
from ..network.audio_conditioning import AudioCondition
from ..network.audio_config import AudioConfig
from ..network.cpu_kernels import columns_first
from ..runtime.devices import AUTO, pick_device, pick_dtype, release_memory
from ..sampling.audio import AudioPlan, Text, sample_audio
from ..sampling.noise import MAX_SEED, seeded_noise
from ..text.gemma import check_text
from ..version import __version__
from .base import ProgressObserver

METADATA_KEY = "lumina_sound"
"""Entry of the written file: one JSON object with what made its sound."""
SUFFIXES = (".mp4", ".wav")
CODEC, FEATURES = "codec", "features"
"""Subfolders of a sound folder."""
SILENT = "the sound is silent; raise the video guidance, or try another seed or prompt."
_PACKAGES = ("av", "diffusers", "transformers", "torchaudio", "safetensors")
_SHORTEST_DIFFERENCE = 0.05


@dataclass(frozen=True)
class AudioFiles:
    """The parts of a voice, which go together.

    Args:
        model: network, a .safetensors file or a folder with model.safetensors.
        features: folder with clip/ and sync/.
        codec: folder with vae/ and vocoder/, or AudioLDM's single file.
    """

    model: Path
    features: Path
    codec: Path

    @classmethod
    def of(cls, folder: Path) -> AudioFiles:
        """Those of a sound folder: model.safetensors, features/ and codec/."""
        return cls(folder / CHECKPOINT_NAME, folder / FEATURES, folder / CODEC)


@dataclass(frozen=True, kw_only=True)
class AudioSettings:
    """How a sound is made, whatever the video.

    Args:
        files: the voice.
        prompt: what is heard; empty leaves it to the video.
        negative_prompt: what is not to be heard; empty for none.
        plan: steps, scales and solver.
        seed: 0 to 2**64 - 1.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: of the sound network: auto, fp32, bf16 or fp16. Encoders and codec run in fp32.
        loudness: LUFS that the sound is brought to; None leaves it as it was made.
    """

    files: AudioFiles
    prompt: str = ""
    negative_prompt: str = ""
    plan: AudioPlan = field(default_factory=AudioPlan)
    seed: int = 0
    device: str = AUTO
    dtype: str = AUTO
    loudness: float | None = None


@dataclass(frozen=True, kw_only=True)
class AudioRequest:
    """A sound for a video file.

    Args:
        settings: how it is made.
        video: any file with a video stream; a sound that it has is replaced.
        out: .mp4 for the video with its sound, .wav for the sound alone; replaced when it exists, and may be ``video``.
        features_file: features that an earlier run saved of a video of this name and length, with the same encoders;
            they are not computed again.
        save_features: .safetensors file to keep the features in.
    """

    settings: AudioSettings
    video: Path
    out: Path
    features_file: Path | None = None
    save_features: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """Settings that hold together, in the terms of the machine."""

    config: AudioConfig
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Sound:
    """``waveform``: (1, N) at 16 kHz. ``nfe``: evaluations of the network, each of one or more ``passes``."""

    waveform: torch.Tensor
    nfe: int
    passes: int
    silent: bool


@dataclass(frozen=True)
class AudioResult:
    """What was written. ``length``: seconds of the sound, ``seconds``: of the whole run."""

    file: Path
    length: float
    rate: int
    seconds: float
    nfe: int
    passes: int


def prepare_audio(settings: AudioSettings) -> Prepared:
    """Check all that can be known without loading weights or seeing the video. Raises LuminaError."""
    if not 0 <= settings.seed <= MAX_SEED:
        raise LuminaError(f"seed is {settings.seed}; write a whole number from 0 to {MAX_SEED}.")
    check_loudness(settings.loudness)
    check_text(settings.prompt)
    check_text(settings.negative_prompt, "negative prompt")
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise LuminaError(f"The package {package} is not installed; run: pip install {package}.")
    config = read_audio_config(settings.files.model)
    config.check_features(*read_feature_widths(settings.files.features))
    channels = read_codec_channels(settings.files.codec)
    if channels != config.channels:
        raise LuminaError(
            f"The audio codec's latents have {channels} channels, and this sound model's {config.channels}; use the "
            "codec that it was trained with."
        )
    return Prepared(config, device, dtype)


def prepare_request(request: AudioRequest) -> tuple[Prepared, float]:
    """The settings' check and the video's: what runs, and the video's seconds. Raises LuminaError."""
    job = prepare_audio(request.settings)
    check_audio_target(request.out)
    if request.save_features is not None:
        check_target(request.save_features, ".safetensors")
    if request.features_file is not None and request.save_features is not None:
        raise LuminaError("The features come from a file and are to be saved to one; ask for only one of them.")
    video = probe(request.video)
    if video.seconds * video.fps < 1.5:
        raise LuminaError(f"{request.video} has 1 frame, and a sound needs something that moves; give 2 or more.")
    check_seconds(video.seconds)
    if request.out.suffix.lower() == ".mp4":
        check_mux(request.video)
    return job, video.seconds


def check_audio_target(path: Path) -> Path:
    """The path, if a video or a sound can be written there. Raises LuminaError."""
    if path.suffix.lower() not in SUFFIXES:
        raise LuminaError(
            f"Output {path.name} has suffix {path.suffix!r}, expected .mp4 (video with sound) or .wav (sound alone)."
        )
    return check_target(path, path.suffix.lower())


def make_audio(request: AudioRequest, watcher: ProgressObserver | None = None) -> AudioResult:
    """Make the sound of a video file and write it.

    Raises LuminaError; then, and on an interrupt, ``out`` is as it was.
    """
    watcher = watcher or ProgressObserver()
    started = time.perf_counter()
    job, seconds = prepare_request(request)
    if request.out.suffix.lower() == ".mp4" and has_audio(request.video):
        watcher.note(f"{request.video} has a sound already, which is replaced in {request.out}.")
    sound = _make(request.settings, job, seconds, _seen(request, seconds, watcher), watcher)
    watcher.stage("writing")
    if request.out.suffix.lower() == ".wav":
        write_wav(request.out, sound.waveform, SAMPLE_RATE)
    else:
        mux(request.video, sound.waveform, SAMPLE_RATE, request.out, audio_metadata(request.settings))
    return AudioResult(
        file=request.out,
        length=sound.waveform.shape[-1] / SAMPLE_RATE,
        rate=SAMPLE_RATE,
        seconds=time.perf_counter() - started,
        nfe=sound.nfe,
        passes=sound.passes,
    )


def audio_for_frames(
    settings: AudioSettings, frames: torch.Tensor, fps: float, watcher: ProgressObserver | None = None
) -> Sound:
    """The sound of a clip in memory, (n, H, W, 3) float in 0..1, at least two frames; as long as the clip.

    Raises LuminaError.
    """
    check_fps(fps)
    check_frames(frames)
    seconds = len(frames) / fps
    check_seconds(seconds)
    job = prepare_audio(settings)
    return _make(settings, job, seconds, lambda encoder: encoder.frames(frames, fps), watcher or ProgressObserver())


def audio_metadata(settings: AudioSettings) -> dict[str, str]:
    """Entries of a written file: what made its sound."""
    made = {
        "version": __version__,
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "seed": settings.seed,
        "model": find_audio_weights(settings.files.model).name,
        "plan": vars(settings.plan),
        "loudness": settings.loudness,
    }
    return {METADATA_KEY: json.dumps(made)}


def _seen(
    request: AudioRequest, seconds: float, watcher: ProgressObserver
) -> Callable[[FeatureEncoder], VideoFeatures]:
    """What gives the features of the request's video."""
    if request.features_file is not None:
        known = load_features(request.features_file, request.video.name)
        if abs(known.seconds - seconds) > _SHORTEST_DIFFERENCE:
            raise LuminaError(
                f"The features in {request.features_file} are of a clip of {known.seconds:g} s, and {request.video} "
                f"lasts {seconds:g} s; use the features of this video."
            )
        return lambda encoder: known

    def look(encoder: FeatureEncoder) -> VideoFeatures:
        found = encoder.file(request.video)
        if request.save_features is not None:
            save_features(request.save_features, found, request.video.name)
            watcher.note(f"the video's features are in {request.save_features}.")
        return found

    return look


def _make(
    settings: AudioSettings,
    job: Prepared,
    seconds: float,
    see: Callable[[FeatureEncoder], VideoFeatures],
    watcher: ProgressObserver,
) -> Sound:
    if told := shortness(seconds):
        watcher.note(told)
    watcher.stage("reading the audio codec")
    # It is small, and a fault in it should show before the sampling, not after.
    codec = load_audio_codec(settings.files.codec)
    condition, negative = _condition(settings, job, see, watcher)
    latents = _sample(settings, job, seconds, condition, negative, watcher)
    watcher.stage("decoding the sound")
    waveform = decode(codec.to(job.device), latents, seconds)
    silent = bool(is_silent(waveform))
    if silent:
        watcher.note(SILENT)
    if not silent and settings.loudness is not None:
        waveform = loudness(waveform, settings.loudness)
    return Sound(waveform, settings.plan.nfe, settings.plan.passes(condition, negative), silent)


def _condition(
    settings: AudioSettings, job: Prepared, see: Callable[[FeatureEncoder], VideoFeatures], watcher: ProgressObserver
) -> tuple[AudioCondition, Text | None]:
    watcher.stage("looking at the video")
    encoder = load_feature_encoder(settings.files.features, job.device)
    features = see(encoder)
    text, mask = encoder.text([settings.prompt, settings.negative_prompt])
    for name, prompt in (("prompt", settings.prompt), ("negative prompt", settings.negative_prompt)):
        if (cut := cut_tokens(encoder, prompt)) > 0:
            watcher.note(f"The {name} is too long: its last {cut} tokens were cut.")
    del encoder
    release_memory(job.device)
    job.config.check_features(features.visual.shape[-1], features.sync.shape[-1], text.shape[-1])
    visual, sync = features.visual.to(text.device), features.sync.to(text.device)
    condition = AudioCondition.of(visual, sync, text[:1], mask[:1])
    # An empty text is what the network was trained to do without, not a text of no words.
    positive = condition if settings.prompt.strip() else condition.without_text()
    return positive, (text[1:], mask[1:]) if settings.negative_prompt.strip() else None


def cut_tokens(encoder: FeatureEncoder, text: str) -> int:
    """How many tokens of a text do not fit; 0 or less where all do."""
    return len(encoder.clip.tokenizer(text)["input_ids"]) - encoder.clip.text_tokens


def _sample(
    settings: AudioSettings,
    job: Prepared,
    seconds: float,
    condition: AudioCondition,
    negative: Text | None,
    watcher: ProgressObserver,
) -> torch.Tensor:
    watcher.stage("reading the sound network")
    model = load_audio_model(settings.files.model, job.device, job.dtype)
    columns_first(model)
    shape = (1, job.config.channels, job.config.rows(seconds), job.config.bins)
    noise = seeded_noise(shape, settings.seed, job.device, job.dtype)
    watcher.stage("sampling the sound")
    watcher.sampling([1] * settings.plan.steps)
    try:
        latents = sample_audio(model, noise, settings.plan, condition, negative, on_step=watcher.step)
    finally:
        watcher.close()
    del model
    release_memory(job.device)
    return latents


def decode(codec: AudioCodec, latents: torch.Tensor, seconds: float) -> torch.Tensor:
    """Latents (B, C, T, F) to waveforms (B, N) at 16 kHz of exactly so many seconds, on the CPU. Raises LuminaError."""
    waveform = codec.to_waveform(latents.float(), round(seconds * SAMPLE_RATE)).cpu()
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError(
            "The sound holds NaN or infinite values; try another dtype (bf16 or fp32 in place of fp16), or less "
            "guidance."
        )
    return waveform
