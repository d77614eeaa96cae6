"""Text-to-video, image-to-video, video-to-video and continuation: one object, loaded once and called many times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.lora import LoraChoice
from ..cost.memory import RunSpec
from ..cost.memory_advice import available_memory, check_memory
from ..errors import LuminaError
from ..sampling.frame_conditioning import HOLD, FrameCondition, condition_on_frames
from ..sampling.noise import noised
from ..sampling.plan import SamplingPlan
from ..sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..shapes.latents import VideoSize
from .base import Callback, Keep, ProgressObserver, as_observer
from .bundle import DEFAULT_BUNDLE, Bundle, find_bundle
from .denoising import Denoised, StepEnd
from .video_files import VideoFiles, lora_choices
from .video_job import VideoCall, VideoDefaults, VideoJob, make_job
from .video_output import VideoOutput, as_type
from .video_stages import VideoStages

# A LoRA file: its path, a pair of path and strength, or both as a ``LoraChoice``.
Lora = LoraChoice | str | Path | tuple[str | Path, float]


class LuminaVideoPipeline(VideoStages):
    """Makes videos and images from prompts with Lumina-Video (arXiv 2502.06782).

    Construction checks from file headers alone that all files fit together; weights are read at the first use. Its
    stages are public: ``encode_prompt``, ``prepare_latents``, ``encode_frames``, ``denoise`` and ``decode``.

    Example:
        >>> from lumina_core import LuminaVideoPipeline
        >>> from lumina_core.media import write_video
        >>> pipe = LuminaVideoPipeline.from_bundle("mini")
        >>> clip = pipe("a red circle moves to the right on a white background", seed=0)
        >>> tuple(clip.frames.shape), clip.fps
        ((1, 32, 64, 64, 3), 8.0)
        >>> info = write_video("clip.mp4", clip.frames[0], clip.fps)

    For users of diffusers:

    ======================================  ==============================================================
    diffusers                               here
    ======================================  ==============================================================
    ``from_pretrained``                     ``from_files`` or ``from_bundle``
    ``num_inference_steps=n``               ``plan.replace(points=n + 1)``
    ``guidance_scale=s``                    ``plan.replace(guidance=s - 1)``; both may change over time
    ``height``, ``width``, ``num_frames``   ``size=(width, height)``, ``frames``
    ``num_videos_per_prompt``               ``videos_per_prompt``
    ``generator``                           ``generator``, or ``seed``
    ``latents``, ``output_type``            the same names; ``pt`` is the default
    ``image``, ``video``, ``strength``      the same names
    ``callback_on_step_end``                the same name, or ``callback`` for more than steps
    ``prompt_embeds``                       ``encode_prompt`` and ``denoise``
    ``enable_model_cpu_offload()``          ``keep="one"``
    ``vae.enable_tiling()``                 ``vae_tile``
    ======================================  ==============================================================

    Args:
        files: where the networks are.
        preset: name of the sampling preset of calls without a ``plan``.
        size, fps: of the clips of calls that do not give them; None uses those of the preset.
        device: auto, cpu, cuda, cuda:1, mps, or a ``torch.device``.
        dtype: auto (bf16 on CUDA, fp32 elsewhere), fp32, bf16, fp16, or a ``torch.dtype``.
        keep: ``one`` holds one large network in memory at a time and releases it after its stage; ``all`` keeps every
            network loaded between calls. Either way, one call reads each file once.
        compiled: run the blocks of the network through ``torch.compile`` if this machine can.
        train_size: size of the clips that the checkpoint was trained on, in place of what its configuration says; used
            by RoPE scaling.
        vae_tile: side of the VAE's tiles in latent pixels (8 pixels each), from 4. None decodes whole frames, and falls
            back to tiles if memory runs out.

    Raises:
        LuminaError: a file is missing, damaged or does not fit the others; or a setting is unknown.
    """

    def __init__(
        self,
        files: VideoFiles,
        *,
        preset: str = DEFAULT_PRESET,
        size: VideoSize | None = None,
        fps: float | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        keep: Keep = "one",
        compiled: bool = False,
        train_size: VideoSize | None = None,
        vae_tile: int | None = None,
    ):
        if preset not in PRESETS:
            raise LuminaError(f"preset is '{preset}'; use one of {', '.join(PRESETS)}.", field="preset", kind="value")
        super().__init__(
            files,
            device=device,
            dtype=dtype,
            keep=keep,
            compiled=compiled,
            train_size=train_size,
            vae_tile=vae_tile,
        )
        clip = preset_clip(preset)
        self.defaults = VideoDefaults(preset=preset, size=size or clip.size, fps=clip.fps if fps is None else fps)

    @classmethod
    def from_files(
        cls,
        *,
        checkpoint: str | Path,
        text_encoder: str | Path,
        vae: str | Path,
        loras: Sequence[Lora] = (),
        **settings: Any,
    ) -> LuminaVideoPipeline:
        """A pipeline of these files.

        Args:
            checkpoint: folder in the released layout, or one .safetensors or .pth file.
            text_encoder: google/gemma-2-2b in the transformers layout.
            vae: vae folder of CogVideoX-2b, or one .safetensors file.
            loras: LoRA files for the checkpoint: paths (strength 1), or pairs of path and strength.
            settings: other arguments of the class.

        Raises:
            LuminaError: see the class.
        """
        return cls(
            VideoFiles(
                checkpoint=Path(checkpoint),
                text_encoder=Path(text_encoder),
                vae=Path(vae),
                loras=lora_choices(loras),
            ),
            **settings,
        )

    @classmethod
    def from_bundle(
        cls,
        name: str | Path | Bundle = DEFAULT_BUNDLE,
        loras: Sequence[Lora] = (),
        **settings: Any,
    ) -> LuminaVideoPipeline:
        """A pipeline of a bundle, with the preset, size and frame rate of the bundle as defaults.

        Args:
            name: of a bundled model, or the folder of another bundle.
            loras: see ``from_files``.
            settings: other arguments of the class.

        Raises:
            LuminaError: there is no such bundle; or see the class.
        """
        bundle = name if isinstance(name, Bundle) else find_bundle(name)
        given = {"preset": bundle.preset, "size": bundle.size, "fps": bundle.fps} | settings
        files = VideoFiles(
            checkpoint=bundle.checkpoint,
            text_encoder=bundle.text_encoder,
            vae=bundle.vae,
            loras=lora_choices(loras),
        )
        return cls(files, **given)

    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] = "",
        *,
        plan: SamplingPlan | str | None = None,
        size: VideoSize | tuple[int, int] | None = None,
        frames: int | None = None,
        fps: float | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        image: Any = None,
        video: Any = None,
        strength: float | None = None,
        hold: float = HOLD,
        start: int = 0,
        stop: int | None = None,
        videos_per_prompt: int = 1,
        batch_size: int = 1,
        output_type: str = "pt",
        callback: Callback | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> VideoOutput:
        """Make clips. With ``batch_size`` 1 a clip does not depend on the others of the call.

        All prompts are encoded first, then all clips are sampled, then all are decoded. Memory holds the networks that
        ``keep`` says, the activations of ``batch_size`` clips, and the frames of all clips.

        Args:
            prompt: what to show; a list makes a clip of each prompt.
            negative_prompt: what to avoid; one for all prompts, or one for each.
            plan: a ``SamplingPlan``, the name of a preset, or None for the preset of the pipeline.
            size: (width, height) in pixels, or a ``VideoSize``; None uses the default of the pipeline.
            frames: 1 for an image, otherwise a multiple of 4. Only multiples of 8 give exactly that many frames. None
                uses the default of the pipeline.
            fps: frames per second of the result, above 0 and up to 1000. It does not change the frames.
            seed: 0 to 2**64 - 1. A number s gives the clips of a prompt the seeds s, s + 1, ...; a list has one seed
                for each clip.
            generator: draws the noise in place of ``seed``, clip after clip; a list has one for each clip.
            latents: (1 or B, C, f, h, w): the noise, or the state at step ``start`` from an earlier call.
            image: image-to-video or continuation: the frames that the clip starts with, either one image or 8, 16, ...
                frames. A tensor or array (H, W, 3) or (N, H, W, 3) in 0..1 or uint8, or PIL images. They are cropped
                and resized to the size of the clip.
            video: video-to-video: the frames to re-render, of the same types; 1 or a multiple of 8. They set the number
                of frames.
            strength: of ``video``: fraction of the steps that run, above 0 and up to 1; None is 0.5. 1 keeps
                nothing of the video.
            hold: of ``image``: timestep up to which the frames next to the given ones are held, 0 to 1.
            start, stop: run only these steps of the plan, as in ``range``: a draft, which a later call refines.
            videos_per_prompt: clips of each prompt.
            batch_size: clips that are sampled together. More need more memory, and save time only for small clips on a
                GPU. A batch changes the rounding of a clip in the last digits.
            output_type: ``pt``, ``np``, ``pil``, or ``latent`` to skip decoding.
            callback: a ``ProgressObserver``, or a function that is called with a ``StepUpdate`` after each step and
                cancels the run by returning False.
            callback_on_step_end: as in diffusers, ``f(pipe, step, t, {"latents": ..., "denoised": ...})``, with the
                timestep t from 0 to 1. The tensors must not be changed. Returning False cancels the run.

        Returns:
            Frames, latents and counts of B clips, prompt by prompt; see ``VideoOutput``.

        Raises:
            LuminaError: an argument or file does not fit (before weights are read, if possible), or memory ran out.
            SamplingCancelled: a callback returned False.
        """
        observer = as_observer(callback)
        call = VideoCall(
            prompt=prompt,
            negative_prompt=negative_prompt,
            plan=plan,
            size=size,
            frames=frames,
            fps=fps,
            seed=seed,
            generator=generator,
            latents=latents,
            image=image,
            video=video,
            strength=strength,
            hold=hold,
            start=start,
            stop=stop,
            videos_per_prompt=videos_per_prompt,
            batch_size=batch_size,
            output_type=output_type,
        )
        job = self._job(call)
        with self.run(job, observer, callback_on_step_end) as found:
            decoded = None
            if job.output_type != "latent":
                observer.stage("decoding")
                decoded = as_type(self.decode(found.estimate, callback=observer), job.output_type)
        return VideoOutput(decoded, found.latents, job.fps, found.nfe, found.passes, found.reused, job.seeds)

    def prepare(
        self, prompt: str | Sequence[str], negative_prompt: str | Sequence[str] = "", **arguments: Any
    ) -> VideoJob:
        """Check the arguments of a call without reading weights.

        Args:
            prompt, negative_prompt: see ``__call__``.
            arguments: all other arguments of ``__call__`` except the callbacks.

        Returns:
            The job for ``run``.

        Raises:
            LuminaError: see ``__call__``.
        """
        return self._job(VideoCall(prompt=prompt, negative_prompt=negative_prompt, **arguments))

    def _job(self, call: VideoCall) -> VideoJob:
        return make_job(self.config, self.defaults, self.vae_tile, call)

    @contextmanager
    def run(
        self, job: VideoJob, callback: Callback | None = None, callback_on_step_end: StepEnd | None = None
    ) -> Iterator[Denoised]:
        """All stages of a call up to the latents. The VAE stays loaded within the ``with`` block, to decode them.

        Args:
            job: made by ``prepare``.
            callback, callback_on_step_end: see ``__call__``.

        Yields:
            The latents, and what they cost.

        Raises:
            LuminaError: see ``__call__``.
            SamplingCancelled: a callback returned False.
        """
        observer = as_observer(callback)
        for note in job.notes:
            observer.note(note)
        if warning := check_memory(self.memory_run(job), self.device, available_memory(self.device)):
            observer.note(warning)
        observer.stage("reading the VAE")
        # The VAE is small, and a fault in its file should show before sampling, not after.
        with self._vae():
            condition = self._condition(job, observer)
            state = self._state(job, observer)
            observer.stage("encoding the prompts")
            prompts = self.encode_prompt(job.prompts, job.negative_prompts, callback=observer)
            yield self.denoise(
                state,
                prompts,
                job.plan,
                start=job.start,
                stop=job.stop,
                condition=condition,
                batch_size=job.batch_size,
                callback=observer,
                callback_on_step_end=callback_on_step_end,
            )

    def memory_run(self, job: VideoJob) -> RunSpec:
        """What the memory use of a call depends on, as ``cost.memory.memory_plan`` takes it."""
        size, batch = self.dtype.itemsize, min(job.batch_size, job.clips)
        return RunSpec(
            self.config, job.latent, job.plan, batch=batch, dtype_size=size, weight_size=size, tile=self.vae_tile
        )

    def _condition(self, job: VideoJob, observer: ProgressObserver) -> FrameCondition | None:
        """The known latent frames of a call with ``image``; None without."""
        if job.images is None:
            return None
        observer.stage("encoding the given frames")
        return condition_on_frames(self.encode_frames, job.images, job.size.frames, job.hold)

    def _state(self, job: VideoJob, observer: ProgressObserver) -> torch.Tensor:
        """The state (B, C, f, h, w) at the first step that runs."""
        if job.latents is not None:
            return job.latents.to(self.device, self.dtype).expand(job.clips, -1, -1, -1, -1)
        noise = self.prepare_latents(job.size, job.seeds, job.generator)
        if job.video is None:
            return noise
        observer.stage("encoding the video")
        source = self.encode_frames(job.video).to(self.device)
        return noised(source, noise.float(), float(job.plan.grid()[job.start])).to(self.dtype)
