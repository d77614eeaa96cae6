"""The stages of Video to Audio, each usable alone: encode a clip and prompts, draw noise, denoise, decode.

Source: paper, appendix D.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from ..audio.codec_loader import AudioCodec, load_audio_codec, read_codec_channels
from ..audio.feature_config import read_feature_widths
from ..audio.features import FeatureEncoder, VideoFeatures, load_feature_encoder
from ..audio.waveform import check_loudness, is_silent, normalize_loudness
from ..checkpoints.audio import load_audio_model, read_audio_config
from ..errors import LuminaError
from ..network.audio import AudioNextDiT
from ..network.cpu_kernels import prepare_for_cpu
from ..sampling.audio import AudioPlan, sample_audio
from ..shapes.audio_rates import SAMPLE_RATE
from ..text.gemma import check_text
from .audio_inputs import AudioClip, AudioFiles, AudioPrompt, cut_tokens
from .audio_output import decode
from .base import Callback, Keep, Pipeline, as_observer, check_packages, draw_noise
from .denoising import StepEnd, after_step
from .prompts import check_prompt_count

_PACKAGES = ("av", "diffusers", "transformers", "torchaudio", "safetensors")


class AudioStages(Pipeline):
    """The networks of Lumina-V2A, and the stages from a clip and a prompt to a waveform.

    Args:
        files: the network, the encoders and the codec.
        device: auto, cpu, cuda, cuda:1, mps, or a ``torch.device``.
        dtype: of the network: auto, fp32, bf16, fp16, or a ``torch.dtype``. The encoders and the codec run in float32.
        keep: ``one`` releases each network after its stage, ``all`` keeps them between calls; see ``Pipeline``.

    Raises:
        LuminaError: a file is missing or damaged, or the files do not fit together.
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
                f"The latents of the audio codec have {channels} channels, and this audio model expects "
                f"{self.config.channels}; "
                "use the codec that it was trained with.",
                field="codec",
                kind="mismatch",
            )

    @property
    def sample_rate(self) -> int:
        """Samples per second of the waveforms."""
        return SAMPLE_RATE

    def feature_encoder(self) -> AbstractContextManager[FeatureEncoder]:
        """The encoders of video and prompt, kept loaded within a ``with`` block.

        Calls of ``encode_video`` and ``encode_prompt`` in the block read their files only once.
        """
        return self.network("features", lambda: load_feature_encoder(self.files.features, self.device))

    def encode_video(
        self, video: str | Path | None = None, frames: torch.Tensor | None = None, fps: float | None = None
    ) -> VideoFeatures:
        """Features of a clip: CLIP embeddings at 8 frames per second, and Synchformer segments at 25 frames per second.

        Args:
            video: a file, which is decoded as it is read.
            frames: (F, H, W, 3), float in 0..1, with ``fps``, in place of a file.
            fps: frames per second of ``frames``.

        Returns:
            ``visual`` (1, N, width), ``sync`` (1, S, 8, width) and the length in seconds.

        Raises:
            LuminaError: neither or both of ``video`` and ``frames`` are given, or the clip cannot be used.
        """
        clip = AudioClip(video, frames, fps)
        clip.seconds()
        with self.feature_encoder() as encoder:
            return clip.encode(encoder)

    def encode_prompt(self, prompt: str, negative_prompt: str = "") -> AudioPrompt:
        """Text features of a prompt and a negative prompt, by CLIP.

        Raises:
            LuminaError: a text is not valid Unicode, or the encoder cannot be read.
        """
        check_text(prompt)
        check_text(negative_prompt, "negative prompt")
        with self.feature_encoder() as encoder:
            text, mask = encoder.text([prompt, negative_prompt])
            cut = (cut_tokens(encoder, prompt), cut_tokens(encoder, negative_prompt))
        negative = (text[1:], mask[1:]) if negative_prompt.strip() else None
        # For an empty prompt the network has a learned embedding, which is not the CLIP features of an empty text.
        return AudioPrompt((text[:1], mask[:1]), negative, empty=not prompt.strip(), cut=cut)

    def prepare_latents(
        self,
        seconds: float,
        seeds: Sequence[int] = (0,),
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The starting noise of a run.

        Args:
            seconds: length of the audio.
            seeds: one for each waveform.
            generator: draws the noise in place of the seeds.
            latents: noise to use in place of drawn noise.

        Returns:
            (B, C, T, F) on the device and in the dtype of the run; T is 25 per second, rounded up to an even number.

        Raises:
            LuminaError: ``latents`` or ``generator`` does not fit.
        """
        shape = (self.config.channels, self.config.latent_frames(seconds), self.config.bins)
        return draw_noise(shape, seeds, generator, self.device, self.dtype, latents)

    def denoise(
        self,
        latents: torch.Tensor,
        features: VideoFeatures,
        prompt: AudioPrompt | Sequence[AudioPrompt],
        plan: AudioPlan | None = None,
        callback: Callback | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> torch.Tensor:
        """Sample latents from noise, one waveform at a time.

        Args:
            latents: noise (B, C, T, F); see ``prepare_latents``.
            features: of one clip.
            prompt: the result of ``encode_prompt``; one for all waveforms, or one for each.
            plan: steps, guidance scales and solver; by default ``AudioPlan()``.
            callback: see ``LuminaAudioPipeline.__call__``. ``sampling`` and ``close`` are called for each waveform.
            callback_on_step_end: see ``LuminaAudioPipeline.__call__``.

        Returns:
            Latents like the noise.

        Raises:
            LuminaError: sizes do not fit, or the first velocity is not finite or is constant.
            SamplingCancelled: the callback returned False.
        """
        observer, plan = as_observer(callback), plan or AudioPlan()
        prompts = [prompt] * len(latents) if isinstance(prompt, AudioPrompt) else list(prompt)
        check_prompt_count(len(prompts), len(latents))
        for each in prompts:
            text, _ = each.text
            self.config.check_features(features.visual.shape[-1], features.sync.shape[-1], text.shape[-1])
        step_done, found = after_step(self, observer, callback_on_step_end), []
        with self.network("model", self._load_model) as model:
            for noise, each in zip(latents.split(1), prompts, strict=True):
                observer.sampling([1] * plan.steps)
                try:
                    condition = each.condition(features)
                    found.append(sample_audio(model, noise, plan, condition, each.negative, step_done))
                finally:
                    observer.close()
            # The pipeline releases the network only if no other reference to it is left.
            del model
        return torch.cat(found)

    def decode(self, latents: torch.Tensor, seconds: float, loudness: float | None = None) -> torch.Tensor:
        """Waveforms of latents.

        Args:
            latents: (B, C, T, F).
            seconds: length of the waveforms, at most that of the latents.
            loudness: target loudness of each in LUFS; None leaves it as decoded. Silence is not changed.

        Returns:
            (B, round(seconds * 16000)), float32, on the CPU.

        Raises:
            LuminaError: the latents are too short or of another codec, or the result is not finite.
        """
        check_loudness(loudness)
        with self.network("codec", self._load_codec) as codec:
            codec.to(self.device)
            # One at a time, so that a waveform does not depend on the others of its batch.
            waveforms = [decode(codec, each, seconds) for each in latents.split(1)]
        return torch.cat(
            [each if loudness is None or is_silent(each) else normalize_loudness(each, loudness) for each in waveforms]
        )

    def _load_model(self) -> AudioNextDiT:
        model = load_audio_model(self.files.model, self.device, self.dtype)
        prepare_for_cpu(model)
        return model

    def _load_codec(self) -> AudioCodec:
        return load_audio_codec(self.files.codec)
