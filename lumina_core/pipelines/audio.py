"""Video to audio (Lumina-V2A): features of the video and the prompt, latents, waveform.

Source: paper, appendix D.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..audio.codec_loader import AudioCodec, load_audio_codec, read_codec_channels
from ..audio.feature_config import read_feature_widths
from ..audio.features import FeatureEncoder, VideoFeatures, check_seconds, load_feature_encoder, short_clip_notice
from ..audio.frame_times import check_frames
from ..audio.mel import SAMPLE_RATE
from ..audio.waveform import SILENT, check_loudness, is_silent, normalize_loudness
from ..checkpoints.audio import CHECKPOINT_NAME, load_audio_model, read_audio_config
from ..errors import LuminaError
from ..media.reader import probe
from ..network.audio import AudioNextDiT
from ..network.audio_conditioning import AudioCondition
from ..network.cpu_kernels import prepare_for_cpu
from ..sampling.audio import AudioPlan, Text, sample_audio
from ..shapes.frame_rate import check_fps
from ..text.gemma import check_text
from .base import (
    Callback,
    Keep,
    Pipeline,
    ProgressObserver,
    as_observer,
    check_output_type,
    check_packages,
    clip_seeds,
    draw_noise,
)
from .bundle import find_bundle

# Subfolders of an audio folder.
CODEC, FEATURES = "codec", "features"
OUTPUT_TYPES = ("pt", "np", "latent")
_PACKAGES = ("av", "diffusers", "transformers", "torchaudio", "safetensors")
# Seconds by which features may be shorter or longer than the clip that they are used for.
_LENGTH_TOLERANCE = 0.05


@dataclass(frozen=True)
class AudioFiles:
    """The files of an audio model, which go together.

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
        """Those of an audio folder: model.safetensors, features/ and codec/."""
        return cls(folder / CHECKPOINT_NAME, folder / FEATURES, folder / CODEC)


@dataclass(frozen=True)
class AudioPrompt:
    """What the text encoder made of a prompt and a negative prompt.

    Args:
        text: CLIP features (1, L, D) and bool mask (1, L) of the prompt.
        negative: those of the negative prompt; None where it is empty.
        empty: whether the prompt is empty; the network then uses what it learned in place of a text.
        cut: tokens that did not fit of the prompt and of the negative prompt; 0 where all do.
    """

    text: Text
    negative: Text | None
    empty: bool
    cut: tuple[int, int] = (0, 0)

    def condition(self, features: VideoFeatures) -> AudioCondition:
        """The network's condition for a clip with this prompt."""
        text, mask = self.text
        visual, sync = features.visual.to(text.device), features.sync.to(text.device)
        found = AudioCondition.of(visual, sync, text, mask)
        return found.without_text() if self.empty else found


@dataclass(frozen=True)
class AudioOutput:
    """What ``LuminaAudioPipeline`` returns.

    Args:
        waveform: (B, N), mono, N = seconds * sample_rate; a tensor on the CPU, or a numpy array for ``np``; None for
            ``latent``.
        sample_rate: samples per second, 16000.
        latents: (B, C, T, F), float or half precision as the network ran.
        nfe: evaluations of the network for all waveforms together.
        passes: forward passes for all waveforms together; an evaluation is one to three of them, by guidance.
        silent: whether one of the waveforms is silent.
        seeds: of the waveforms; unused where a generator or latents were given.
    """

    waveform: Any
    sample_rate: int
    latents: torch.Tensor
    nfe: int
    passes: int
    silent: bool
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class _Clip:
    """What audio is made for: a file, frames in memory, or features that are known already."""

    video: str | Path | None
    frames: torch.Tensor | None
    fps: float | None
    features: VideoFeatures | None = None

    def seconds(self) -> float:
        """Its length, checked as far as it can be without decoding it. Raises LuminaError."""
        if (self.video is not None) + (self.frames is not None) != 1 and (self.features is None or self.video):
            raise LuminaError(
                "The clip is given twice or not at all; give one of video, frames with fps, and features.",
                field="video",
            )
        seconds = self._measured()
        if self.features is None:
            return seconds
        if abs(self.features.seconds - seconds) > _LENGTH_TOLERANCE:
            raise LuminaError(
                f"The features are of a clip of {self.features.seconds:g} s, and this one lasts {seconds:g} s; use the "
                "features of this video.",
                field="features",
                kind="mismatch",
            )
        return seconds

    def encode(self, encoder: FeatureEncoder) -> VideoFeatures:
        """Its features. Raises LuminaError."""
        if self.features is not None:
            return self.features
        if self.frames is not None:
            return encoder.frames(self.frames, check_fps(self.fps))
        return encoder.file(self.video or "")

    def _measured(self) -> float:
        if self.video is not None:
            found = probe(self.video)
            if found.seconds * found.fps < 1.5:
                raise LuminaError(f"{self.video} has 1 frame, and audio needs motion; give 2 or more.", field="video")
            return check_seconds(found.seconds)
        if self.frames is not None:
            fps = check_fps(self.fps)
            check_frames(self.frames)
            return check_seconds(len(self.frames) / fps)
        return check_seconds(self.features.seconds if self.features else 0)


class LuminaAudioPipeline(Pipeline):
    """Makes audio for a video: loaded once, called many times.

    Construction checks all that can be known from configurations and file headers; weights are read at the first call.

    Args:
        files: network, encoders and codec.
        device: auto, cpu, cuda, cuda:1, mps, or a ``torch.device``.
        dtype: of the network: auto, fp32, bf16, fp16, or a ``torch.dtype``. Encoders and codec run in float32.
        keep: ``one`` releases each network after its stage, ``all`` keeps them between calls; see ``Pipeline``.

    Raises:
        LuminaError: a file is missing or damaged, or the parts do not go together.

    Example:
        >>> from lumina_core.pipelines.audio import LuminaAudioPipeline
        >>> from lumina_core.audio.files import write_wav
        >>> pipe = LuminaAudioPipeline.from_bundle("mini")
        >>> out = pipe(video="clip.mp4", prompt="The sound of a bell.", seed=[0, 1])
        >>> file = write_wav("clip.wav", out.waveform[:1], out.sample_rate)
    """

    def __init__(
        self,
        files: AudioFiles,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        keep: Keep = "one",
    ):
        super().__init__(device, dtype, keep)
        check_packages(*_PACKAGES)
        self.files = files
        self.config = read_audio_config(files.model)
        self.config.check_features(*read_feature_widths(files.features))
        channels = read_codec_channels(files.codec)
        if channels != self.config.channels:
            raise LuminaError(
                f"The audio codec's latents have {channels} channels, and this audio model's {self.config.channels}; "
                "use the codec that it was trained with.",
                field="codec",
                kind="mismatch",
            )

    @classmethod
    def from_bundle(cls, bundle: str | Path = "mini", **options: Any) -> LuminaAudioPipeline:
        """The audio model of a bundle.

        Args:
            bundle: name of a shipped bundle, or the folder of another one.
            options: ``device``, ``dtype`` and ``keep``.

        Raises:
            LuminaError: there is no such bundle, or it has no audio model.
        """
        found = find_bundle(bundle)
        if found.sound is None:
            raise LuminaError(
                f"The bundle {found.name} has no audio model; give another bundle, or files to from_files.",
                field="bundle",
                kind="missing",
            )
        return cls(AudioFiles.of(found.sound), **options)

    @classmethod
    def from_files(
        cls, model: str | Path, features: str | Path, codec: str | Path, **options: Any
    ) -> LuminaAudioPipeline:
        """A pipeline of separate files.

        Args:
            model: network, a .safetensors file or a folder with model.safetensors.
            features: folder with clip/ (a CLIP) and sync/ (a Synchformer).
            codec: folder with vae/ and vocoder/, or AudioLDM's single file.
            options: ``device``, ``dtype`` and ``keep``.

        Raises:
            LuminaError: see the class.
        """
        return cls(AudioFiles(Path(model), Path(features), Path(codec)), **options)

    @property
    def sample_rate(self) -> int:
        """Samples per second of the waveforms."""
        return SAMPLE_RATE

    def __call__(
        self,
        *,
        video: str | Path | None = None,
        frames: torch.Tensor | None = None,
        fps: float | None = None,
        features: VideoFeatures | None = None,
        prompt: str | AudioPrompt = "",
        negative_prompt: str = "",
        plan: AudioPlan | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        loudness: float | None = None,
        output_type: str = "pt",
        callback: Callback | None = None,
    ) -> AudioOutput:
        """Make audio as long as a clip. Give the clip as ``video``, as ``frames`` and ``fps``, or as ``features``.

        Args:
            video: file with a video stream of 2 frames or more, up to 120 s.
            frames: (F, H, W, 3), float in 0..1, F at least 2.
            fps: frames per second of ``frames``.
            features: what ``encode_video`` returned; the clip is not encoded again.
            prompt: what should be heard; empty leaves it to the video. Or what ``encode_prompt`` returned.
            negative_prompt: what should not be heard; empty for none. Part of an encoded ``prompt``.
            plan: steps, guidance scales and solver; by default ``AudioPlan()``.
            seed: 0 to 2**64 - 1; a list makes one waveform for each seed.
            generator: draws the noise in place of the seed; one, or one for each waveform.
            latents: starting noise (B, C, T, F) in place of drawn noise; see ``prepare_latents``.
            loudness: LUFS that each waveform is brought to; None leaves it as decoded.
            output_type: ``pt``, ``np``, or ``latent`` to skip the decoding.
            callback: a ``ProgressObserver``, or a function that is called with each ``StepUpdate``.

        Returns:
            Waveforms and latents; see ``AudioOutput``. A waveform does not depend on what else the call makes.

        Raises:
            LuminaError: an argument is wrong (before any weights are read), or the result is not finite.
            SamplingCancelled: the callback returned False.
        """
        observer, plan = as_observer(callback), plan or AudioPlan()
        check_output_type(output_type, *OUTPUT_TYPES)
        seeds = self.check_call(prompt, negative_prompt, seed, loudness)
        clip = _Clip(video, frames, fps, features)
        seconds = clip.seconds()
        noise = self.prepare_latents(seconds, seeds, generator, latents)
        if note := short_clip_notice(seconds):
            observer.note(note)
        if output_type == "latent":
            latents, passes = self._latents(noise, clip, prompt, negative_prompt, plan, observer)
            return AudioOutput(None, SAMPLE_RATE, latents, plan.nfe * len(seeds), passes, False, seeds)
        observer.stage("reading the audio codec")
        # The codec is small, and a fault in its files should show before the sampling, not after.
        with self.network("codec", self._load_codec):
            latents, passes = self._latents(noise, clip, prompt, negative_prompt, plan, observer)
            observer.stage("decoding the audio")
            waveform = self.decode(latents, seconds, loudness)
        silent = any(is_silent(each) for each in waveform)
        if silent:
            observer.note(SILENT)
        found = waveform.numpy() if output_type == "np" else waveform
        return AudioOutput(found, SAMPLE_RATE, latents, plan.nfe * len(seeds), passes, silent, seeds)

    def check_call(
        self,
        prompt: str | AudioPrompt = "",
        negative_prompt: str = "",
        seed: int | Sequence[int] = 0,
        loudness: float | None = None,
    ) -> tuple[int, ...]:
        """Check what does not depend on the clip, and return one seed for each waveform. Raises LuminaError."""
        check_loudness(loudness)
        if isinstance(prompt, str):
            check_text(prompt)
        elif negative_prompt:
            raise LuminaError(
                "The prompt is encoded and the negative prompt is not; give both to encode_prompt.",
                field="negative_prompt",
            )
        check_text(negative_prompt, "negative prompt")
        return clip_seeds(seed, 1, 1)

    def feature_encoder(self) -> AbstractContextManager[FeatureEncoder]:
        """The encoders of video and prompt for the length of a ``with`` block, so that several calls of
        ``encode_video`` and ``encode_prompt`` read their files once."""
        return self.network("features", lambda: load_feature_encoder(self.files.features, self.device))

    def encode_video(
        self, video: str | Path | None = None, frames: torch.Tensor | None = None, fps: float | None = None
    ) -> VideoFeatures:
        """Features of a clip: CLIP vectors at 8 frames per second and Synchformer segments at 25.

        Args:
            video: a file, decoded as it is read.
            frames: (F, H, W, 3), float in 0..1, with ``fps``, in place of a file.
            fps: frames per second of ``frames``.

        Returns:
            ``visual`` (1, N, width), ``sync`` (1, S, 8, width) and the length in seconds.

        Raises:
            LuminaError: neither or both of them are given, or the clip cannot be used.
        """
        clip = _Clip(video, frames, fps)
        clip.seconds()
        with self.feature_encoder() as encoder:
            return clip.encode(encoder)

    def encode_prompt(self, prompt: str, negative_prompt: str = "") -> AudioPrompt:
        """Text features of a prompt and a negative prompt, by CLIP. Raises LuminaError."""
        check_text(prompt)
        check_text(negative_prompt, "negative prompt")
        with self.feature_encoder() as encoder:
            text, mask = encoder.text([prompt, negative_prompt])
            cut = (cut_tokens(encoder, prompt), cut_tokens(encoder, negative_prompt))
        negative = (text[1:], mask[1:]) if negative_prompt.strip() else None
        # An empty prompt is what the network was trained to do without; it is not a text of no words.
        return AudioPrompt((text[:1], mask[:1]), negative, empty=not prompt.strip(), cut=cut)

    def prepare_latents(
        self,
        seconds: float,
        seeds: Sequence[int] = (0,),
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Starting noise of a run.

        Args:
            seconds: length of the audio.
            seeds: one for each waveform.
            generator: draws the noise in place of the seeds.
            latents: noise to use as it is; only its shape is checked.

        Returns:
            (B, C, T, F) on the pipeline's device in its dtype; T is 25 for each second, rounded up to an even number.

        Raises:
            LuminaError: ``latents`` or ``generator`` does not fit.
        """
        shape = (self.config.channels, self.config.rows(seconds), self.config.bins)
        return draw_noise(shape, seeds, generator, self.device, self.dtype, latents)

    def denoise(
        self,
        latents: torch.Tensor,
        features: VideoFeatures,
        prompt: AudioPrompt,
        plan: AudioPlan | None = None,
        callback: Callback | None = None,
    ) -> torch.Tensor:
        """Run a plan from noise to latents, one waveform after another.

        Args:
            latents: noise (B, C, T, F); see ``prepare_latents``.
            features: of one clip.
            prompt: what ``encode_prompt`` returned.
            plan: steps, guidance scales and solver.
            callback: see ``__call__``; ``sampling`` and ``close`` are called for each waveform.

        Returns:
            Latents like the noise.

        Raises:
            LuminaError: sizes do not fit, or the network's first velocity is not finite or is constant.
            SamplingCancelled: the callback returned False.
        """
        observer, plan = as_observer(callback), plan or AudioPlan()
        condition = prompt.condition(features)
        text, _ = prompt.text
        self.config.check_features(features.visual.shape[-1], features.sync.shape[-1], text.shape[-1])
        found = []
        with self.network("model", self._load_model) as model:
            for noise in latents.split(1):
                observer.sampling([1] * plan.steps)
                try:
                    found.append(sample_audio(model, noise, plan, condition, prompt.negative, observer.step))
                finally:
                    observer.close()
        return torch.cat(found)

    def decode(self, latents: torch.Tensor, seconds: float, loudness: float | None = None) -> torch.Tensor:
        """Latents to waveforms.

        Args:
            latents: (B, C, T, F).
            seconds: length of the waveforms, at most T / 25.
            loudness: LUFS that each is brought to; None leaves it as decoded. Silence stays silence.

        Returns:
            (B, round(seconds * 16000)), float32, on the CPU.

        Raises:
            LuminaError: the latents are too short or of another codec, or the result is not finite.
        """
        check_loudness(loudness)
        with self.network("codec", self._load_codec) as codec:
            codec.to(self.device)
            # One after another, so that a waveform does not depend on the others of its batch.
            waveforms = [decode(codec, each, seconds) for each in latents.split(1)]
        return torch.cat([each if loudness is None else _at_loudness(each, loudness) for each in waveforms])

    def _latents(
        self,
        noise: torch.Tensor,
        clip: _Clip,
        prompt: str | AudioPrompt,
        negative_prompt: str,
        plan: AudioPlan,
        observer: ProgressObserver,
    ) -> tuple[torch.Tensor, int]:
        """Latents of the noise, and the forward passes of all of them together."""
        features, encoded = self._encode(clip, prompt, negative_prompt, observer)
        for name, cut in zip(("prompt", "negative prompt"), encoded.cut, strict=True):
            if cut:
                observer.note(f"The {name} is too long: its last {cut} tokens were cut.")
        observer.stage("reading the audio network")
        with self.network("model", self._load_model):
            observer.stage("sampling the audio")
            latents = self.denoise(noise, features, encoded, plan, observer)
        return latents, plan.passes(encoded.condition(features), encoded.negative) * len(noise)

    def _encode(
        self, clip: _Clip, prompt: str | AudioPrompt, negative_prompt: str, observer: ProgressObserver
    ) -> tuple[VideoFeatures, AudioPrompt]:
        """Both are encoded within one loading of the encoders, which is skipped where both are encoded already."""
        if clip.features is not None and isinstance(prompt, AudioPrompt):
            return clip.features, prompt
        observer.stage("encoding the prompt" if clip.features else "encoding the video")
        with self.feature_encoder():
            features = clip.features or self.encode_video(clip.video, clip.frames, clip.fps)
            encoded = self.encode_prompt(prompt, negative_prompt) if isinstance(prompt, str) else prompt
        return features, encoded

    def _load_model(self) -> AudioNextDiT:
        model = load_audio_model(self.files.model, self.device, self.dtype)
        prepare_for_cpu(model)
        return model

    def _load_codec(self) -> AudioCodec:
        return load_audio_codec(self.files.codec)


def decode(codec: AudioCodec, latents: torch.Tensor, seconds: float) -> torch.Tensor:
    """Latents (B, C, T, F) to waveforms (B, N) at 16 kHz of exactly so many seconds, on the CPU. Raises LuminaError."""
    waveform = codec.to_waveform(latents.float(), round(seconds * SAMPLE_RATE)).cpu()
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError(
            "The audio holds NaN or infinite values; try another dtype (bf16 or fp32 in place of fp16), or less "
            "guidance.",
            field="dtype",
            kind="numerics",
        )
    return waveform


def cut_tokens(encoder: FeatureEncoder, text: str) -> int:
    """How many tokens of a text do not fit into the text encoder; 0 where all do."""
    return max(0, len(encoder.clip.tokenizer(text)["input_ids"]) - encoder.clip.text_tokens)


def _at_loudness(waveform: torch.Tensor, lufs: float) -> torch.Tensor:
    return waveform if is_silent(waveform) else normalize_loudness(waveform, lufs)
