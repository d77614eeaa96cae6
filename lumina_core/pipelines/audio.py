"""Video to Audio (Lumina-V2A): from a video and a prompt to features, latents and a waveform.

Source: paper, appendix D.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..audio.features import VideoFeatures, short_clip_notice
from ..audio.waveform import SILENT, check_loudness, is_silent
from ..errors import LuminaError
from ..sampling.audio import AudioPlan
from ..shapes.audio_rates import SAMPLE_RATE
from .audio_inputs import AudioClip, AudioFiles, AudioPrompt
from .audio_output import AudioOutput
from .audio_stages import AudioStages
from .base import Callback, ProgressObserver, as_observer, check_output_type, clip_seeds
from .bundle import find_bundle
from .denoising import StepEnd
from .prompts import check_prompts

# Values of ``output_type``.
OUTPUT_TYPES = ("pt", "np", "latent")


class LuminaAudioPipeline(AudioStages):
    """Makes audio for a video: loaded once, called many times.

    Construction checks from configurations and file headers that all files fit together; weights are read at the first
    use.

    For users of diffusers' AudioLDM and Stable Audio pipelines:

    ============================  ==========================================================
    diffusers                     here
    ============================  ==========================================================
    ``from_pretrained``           ``from_files`` or ``from_bundle``
    ``num_inference_steps=n``     ``plan=AudioPlan(steps=n)``
    ``guidance_scale=s``          ``AudioPlan(text_guidance=s - 1)``, and ``video_guidance``
    ``audio_length_in_s``         the length of ``video``, ``frames`` or ``features``
    ``num_waveforms_per_prompt``  ``seed`` as a list
    ``generator``                 ``generator``, or ``seed``
    ``latents``, ``output_type``  the same names; ``pt`` is the default
    ``callback_on_step_end``      the same name, or ``callback`` for more than steps
    ``prompt_embeds``             ``prompt=pipe.encode_prompt(...)``
    ============================  ==========================================================

    Args:
        files: the network, the encoders and the codec.
        device: auto, cpu, cuda, cuda:1, mps, or a ``torch.device``.
        dtype: of the network: auto, fp32, bf16, fp16, or a ``torch.dtype``. The encoders and the codec run in float32.
        keep: ``one`` releases each network after its stage, ``all`` keeps them between calls; see ``Pipeline``.

    Raises:
        LuminaError: a file is missing or damaged, or the files do not fit together.

    Example:
        >>> from lumina_core.pipelines.audio import LuminaAudioPipeline
        >>> from lumina_core.audio.files import write_wav
        >>> pipe = LuminaAudioPipeline.from_bundle("mini")
        >>> out = pipe(video="clip.mp4", prompt="The sound of a bell.", seed=[0, 1])
        >>> file = write_wav("clip.wav", out.waveform[:1], out.sample_rate)
    """

    @classmethod
    def from_bundle(cls, bundle: str | Path = "mini", **options: Any) -> LuminaAudioPipeline:
        """The audio model of a bundle.

        Args:
            bundle: name of a bundled model, or the folder of another bundle.
            options: ``device``, ``dtype`` and ``keep``.

        Raises:
            LuminaError: there is no such bundle, or it has no audio model.
        """
        found = find_bundle(bundle)
        if found.audio is None:
            raise LuminaError(
                f"The bundle {found.name} has no audio model; give another bundle, or use from_files.",
                field="bundle",
                kind="missing",
            )
        return cls(AudioFiles.of(found.audio), **options)

    @classmethod
    def from_files(
        cls, model: str | Path, features: str | Path, codec: str | Path, **options: Any
    ) -> LuminaAudioPipeline:
        """A pipeline of separate files.

        Args:
            model: the network: a .safetensors file, or a folder with model.safetensors.
            features: folder with clip/ (a CLIP) and sync/ (a Synchformer).
            codec: folder with vae/ and vocoder/, or AudioLDM's single file.
            options: ``device``, ``dtype`` and ``keep``.

        Raises:
            LuminaError: see the class.
        """
        return cls(AudioFiles(Path(model), Path(features), Path(codec)), **options)

    def __call__(
        self,
        *,
        video: str | Path | None = None,
        frames: torch.Tensor | None = None,
        fps: float | None = None,
        features: VideoFeatures | None = None,
        prompt: str | Sequence[str] | AudioPrompt = "",
        negative_prompt: str | Sequence[str] = "",
        plan: AudioPlan | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        loudness: float | None = None,
        output_type: str = "pt",
        callback: Callback | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> AudioOutput:
        """Make audio of the length of a clip: a ``video``, ``frames`` with ``fps``, or ``features``.

        Args:
            video: file with a video stream of 2 frames or more, up to 120 s.
            frames: (F, H, W, 3), float in 0..1, F at least 2.
            fps: frames per second of ``frames``.
            features: the result of ``encode_video``; the clip is not encoded again.
            prompt: the sound to generate; empty conditions on the video only. A list makes a waveform of each prompt.
                Or the result of ``encode_prompt``.
            negative_prompt: the sound to avoid; empty for none. One for all prompts, or one for each. Must be empty if
                ``prompt`` is encoded.
            plan: steps, guidance scales and solver; by default ``AudioPlan()``.
            seed: 0 to 2**64 - 1; a list makes a waveform of each seed, or has one for each prompt.
            generator: draws the noise in place of ``seed``; a list has one for each waveform.
            latents: noise (B, C, T, F) in place of drawn noise; see ``prepare_latents``.
            loudness: target loudness of each waveform in LUFS; None leaves it as decoded.
            output_type: ``pt``, ``np``, or ``latent`` to skip decoding.
            callback: a ``ProgressObserver``, or a function that is called with a ``StepUpdate`` after each step and
                cancels the run by returning False.
            callback_on_step_end: see ``LuminaVideoPipeline.__call__``.

        Returns:
            Waveforms, latents and counts; see ``AudioOutput``. A waveform does not depend on the others of the call.

        Raises:
            LuminaError: an argument does not fit (before weights are read), or the result is not finite.
            SamplingCancelled: the callback returned False.
        """
        observer, plan = as_observer(callback), plan or AudioPlan()
        check_output_type(output_type, *OUTPUT_TYPES)
        seeds = self.check_call(prompt, negative_prompt, seed, loudness)
        clip = AudioClip(video, frames, fps, features)
        seconds = clip.seconds()
        noise = self.prepare_latents(seconds, seeds, generator, latents)
        if note := short_clip_notice(seconds):
            observer.note(note)
        texts = (prompt, negative_prompt)
        sample = partial(self._latents, noise, clip, texts, plan, observer, callback_on_step_end)
        if output_type == "latent":
            latents, passes = sample()
            return AudioOutput(None, SAMPLE_RATE, latents, plan.nfe * len(seeds), passes, False, seeds)
        observer.stage("reading the audio codec")
        # The codec is small, and a fault in its files should show before sampling, not after.
        with self.network("codec", self._load_codec):
            latents, passes = sample()
            observer.stage("decoding the audio")
            waveform = self.decode(latents, seconds, loudness)
        silent = any(is_silent(each) for each in waveform)
        if silent:
            observer.note(SILENT)
        found = waveform.numpy() if output_type == "np" else waveform
        return AudioOutput(found, SAMPLE_RATE, latents, plan.nfe * len(seeds), passes, silent, seeds)

    def check_call(
        self,
        prompt: str | Sequence[str] | AudioPrompt = "",
        negative_prompt: str | Sequence[str] = "",
        seed: int | Sequence[int] = 0,
        loudness: float | None = None,
    ) -> tuple[int, ...]:
        """Check the arguments of a call that do not depend on the clip.

        Args:
            prompt, negative_prompt, seed, loudness: see ``__call__``.

        Returns:
            One seed for each waveform.

        Raises:
            LuminaError: an argument is out of range.
        """
        check_loudness(loudness)
        if not isinstance(prompt, AudioPrompt):
            prompts, _ = check_prompts(prompt, negative_prompt)
            return clip_seeds(seed, len(prompts))
        if negative_prompt:
            raise LuminaError(
                "The prompt is encoded and the negative prompt is not; pass both to encode_prompt.",
                field="negative_prompt",
                kind="value",
            )
        return clip_seeds(seed, 1)

    def _latents(
        self,
        noise: torch.Tensor,
        clip: AudioClip,
        texts: tuple[str | Sequence[str] | AudioPrompt, str | Sequence[str]],
        plan: AudioPlan,
        observer: ProgressObserver,
        step_end: StepEnd | None,
    ) -> tuple[torch.Tensor, int]:
        """Latents sampled from the noise, and the forward passes of all waveforms together."""
        features, encoded = self._encode(clip, *texts, observer)
        for each in encoded:
            for name, cut in zip(("prompt", "negative prompt"), each.cut, strict=True):
                if cut:
                    observer.note(f"The {name} is too long: its last {cut} tokens were cut.")
        prompts = encoded if len(encoded) > 1 else encoded * len(noise)
        observer.stage("reading the audio network")
        with self.network("model", self._load_model):
            observer.stage("sampling the audio")
            latents = self.denoise(noise, features, prompts, plan, observer, step_end)
        return latents, sum(plan.passes(each.condition(features), each.negative) for each in prompts)

    def _encode(
        self,
        clip: AudioClip,
        prompt: str | Sequence[str] | AudioPrompt,
        negative_prompt: str | Sequence[str],
        observer: ProgressObserver,
    ) -> tuple[VideoFeatures, list[AudioPrompt]]:
        """Features of the clip and the prompts. The encoders are loaded once, or not at all if all are encoded."""
        if clip.features is not None and isinstance(prompt, AudioPrompt):
            return clip.features, [prompt]
        observer.stage("encoding the prompt" if clip.features else "encoding the video")
        with self.feature_encoder():
            features = clip.features or self.encode_video(clip.video, clip.frames, clip.fps)
            if isinstance(prompt, AudioPrompt):
                return features, [prompt]
            texts = zip(*check_prompts(prompt, negative_prompt), strict=True)
            return features, [self.encode_prompt(*each) for each in texts]
