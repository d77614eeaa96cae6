"""From a video file to a file with audio: ``LuminaAudioPipeline`` and a writer."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..audio.features import VideoFeatures, check_seconds, load_features, save_features
from ..audio.files import check_mux, has_audio, mux, write_wav
from ..checkpoints.audio import find_audio_weights
from ..errors import LuminaError
from ..media.reader import probe
from ..media.writer import check_target
from ..runtime.devices import AUTO
from ..sampling.audio import AudioPlan
from ..version import __version__
from .audio import LuminaAudioPipeline
from .audio_inputs import AudioFiles, AudioPrompt
from .audio_output import AudioOutput
from .base import Keep, ProgressObserver

# Metadata key of a written .mp4: a JSON object with the settings that made its audio.
AUDIO_FILE_KEY = "lumina_sound"
# File types of the output.
SUFFIXES = (".mp4", ".wav")


@dataclass(frozen=True, kw_only=True)
class AudioSettings:
    """Settings of the audio that do not depend on the video; see ``LuminaAudioPipeline``.

    Args:
        files: paths of the network, the encoders and the codec.
        prompt, negative_prompt, plan, seed, loudness: arguments of the pipeline's call.
        device, dtype: arguments of the pipeline.
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
    """Audio for a video file.

    Args:
        settings: how to make it.
        video: any file with a video stream; existing audio is replaced.
        out: .mp4 for the video with the new audio, .wav for the audio alone. An existing file is replaced; it may be
            ``video``.
        features_file: features saved by an earlier run with the same encoders, of a video with this name and length;
            they are not computed again.
        save_features: .safetensors file to save the features to.
    """

    settings: AudioSettings
    video: Path
    out: Path
    features_file: Path | None = None
    save_features: Path | None = None


@dataclass(frozen=True)
class AudioResult:
    """What was written.

    Args:
        file: the written file.
        length: duration of the audio in seconds.
        rate: sample rate in Hz.
        seconds: wall-clock time of the whole run.
        nfe, passes: number of (guided) evaluations, and of forward passes.
    """

    file: Path
    length: float
    rate: int
    seconds: float
    nfe: int
    passes: int


def audio_pipeline(settings: AudioSettings, keep: Keep = "one") -> LuminaAudioPipeline:
    """A pipeline for these settings, after all checks that need no video.

    Args:
        settings: how audio is made.
        keep: ``all`` to make the audio of several videos without reading the weights again; see ``Pipeline``.

    Raises:
        LuminaError: a setting is out of range, or a file is missing or damaged.
    """
    pipe = LuminaAudioPipeline(settings.files, settings.device, settings.dtype, keep)
    pipe.check_call(settings.prompt, settings.negative_prompt, settings.seed, settings.loudness)
    return pipe


def prepare_request(request: AudioRequest, pipe: LuminaAudioPipeline | None = None) -> LuminaAudioPipeline:
    """A pipeline for the request, after all checks that need no weights.

    Args:
        request: what is made.
        pipe: a pipeline that ``audio_pipeline`` made of the same settings; None makes one.

    Raises:
        LuminaError: something does not fit, or cannot be written.
    """
    pipe = pipe or audio_pipeline(request.settings)
    check_audio_target(request.out)
    if request.save_features is not None:
        check_target(request.save_features, ".safetensors")
    if request.features_file is not None and request.save_features is not None:
        raise LuminaError(
            "The features are both read from a file and saved to one; give only one of the two files.",
            field="save_features",
            kind="value",
        )
    check_seconds(probe(request.video).seconds)
    if request.out.suffix.lower() == ".mp4":
        check_mux(request.video)
    return pipe


def check_audio_target(path: Path) -> Path:
    """The path, if a video or an audio file can be written there. Raises LuminaError."""
    if path.suffix.lower() not in SUFFIXES:
        raise LuminaError(
            f"Output {path.name} has suffix {path.suffix!r}, expected .mp4 (video with audio) or .wav (audio alone).",
            field="out",
            kind="value",
        )
    return check_target(path, path.suffix.lower())


def make_audio(
    request: AudioRequest, observer: ProgressObserver | None = None, pipe: LuminaAudioPipeline | None = None
) -> AudioResult:
    """Make the audio of a video file and write it.

    If it fails or is interrupted, an existing ``out`` is unchanged.

    Args:
        request: what is made.
        observer: receives progress and notices.
        pipe: see ``prepare_request``; one with ``keep="all"`` reads its weights once for several videos.

    Raises:
        LuminaError: a file or setting is invalid, or the output cannot be written.
        SamplingCancelled: the observer cancelled.
    """
    observer = observer or ProgressObserver()
    started = time.perf_counter()
    pipe, settings = prepare_request(request, pipe), request.settings
    if request.out.suffix.lower() == ".mp4" and has_audio(request.video):
        observer.note(f"{request.video} already has audio, which is replaced in {request.out}.")
    features, prompt = _encoded(pipe, request, observer)
    output = pipe(
        video=request.video,
        features=features,
        prompt=prompt or settings.prompt,
        negative_prompt="" if prompt else settings.negative_prompt,
        plan=settings.plan,
        seed=settings.seed,
        loudness=settings.loudness,
        callback=observer,
    )
    observer.stage("writing")
    if request.out.suffix.lower() == ".wav":
        write_wav(request.out, output.waveform, output.sample_rate)
    else:
        mux(request.video, output.waveform, output.sample_rate, request.out, audio_metadata(settings))
    return AudioResult(
        file=request.out,
        length=output.waveform.shape[-1] / output.sample_rate,
        rate=output.sample_rate,
        seconds=time.perf_counter() - started,
        nfe=output.nfe,
        passes=output.passes,
    )


def audio_for_frames(
    settings: AudioSettings,
    frames: torch.Tensor,
    fps: float,
    observer: ProgressObserver | None = None,
    pipe: LuminaAudioPipeline | None = None,
) -> AudioOutput:
    """The audio of a clip in memory, of the same duration.

    Args:
        settings: how to make it.
        frames: (F, H, W, 3) float in 0..1.
        fps: frame rate of the clip.
        observer: receives progress and notices.
        pipe: a pipeline that ``audio_pipeline`` made of the same settings; None makes one.

    Raises:
        LuminaError: a file or setting is invalid.
        SamplingCancelled: the observer cancelled.
    """
    pipe = pipe or audio_pipeline(settings)
    return pipe(
        frames=frames,
        fps=fps,
        prompt=settings.prompt,
        negative_prompt=settings.negative_prompt,
        plan=settings.plan,
        seed=settings.seed,
        loudness=settings.loudness,
        callback=observer,
    )


def audio_metadata(settings: AudioSettings) -> dict[str, str]:
    """Metadata of a written file: the settings that made its audio."""
    made = {
        "version": __version__,
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "seed": settings.seed,
        "model": find_audio_weights(settings.files.model).name,
        "plan": vars(settings.plan),
        "loudness": settings.loudness,
    }
    return {AUDIO_FILE_KEY: json.dumps(made)}


def _encoded(
    pipe: LuminaAudioPipeline, request: AudioRequest, observer: ProgressObserver
) -> tuple[VideoFeatures | None, AudioPrompt | None]:
    """Features from a file; or features that are saved now, with the encoded prompt. None for what the call of the
    pipeline encodes."""
    if request.features_file is not None:
        return load_features(request.features_file, request.video.name), None
    if request.save_features is None:
        return None, None
    observer.stage("encoding the video")
    with pipe.feature_encoder():
        features = pipe.encode_video(request.video)
        save_features(request.save_features, features, request.video.name)
        observer.note(f"The features of the video were saved to {request.save_features}.")
        return features, pipe.encode_prompt(request.settings.prompt, request.settings.negative_prompt)
