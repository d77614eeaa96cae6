"""Text to video, image to video, video to video and continuation: one object, loaded once and called many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.lora import LoraChoice, apply_lora
from ..checkpoints.video import load_video_model
from ..cost.memory import RunSpec
from ..cost.memory_advice import available_memory, check_memory
from ..errors import LuminaError
from ..network.compilation import compile_blocks
from ..network.cpu_kernels import prepare_for_cpu
from ..runtime.devices import promote_fp16
from ..sampling.frame_conditioning import HOLD, FrameCondition, condition_on_frames, noised
from ..sampling.plan import SamplingPlan
from ..sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..sampling.step_cache import summary
from ..sampling.step_update import StepUpdate
from ..shapes.latents import VideoSize
from ..text.gemma import load_text_encoder
from ..vae.loader import VideoVAE, load_video_vae
from ..vae.oom_decode import decode_stream
from .base import Callback, Keep, Pipeline, ProgressObserver, as_observer, check_packages, draw_noise
from .bundle import DEFAULT_BUNDLE, Bundle, find_bundle
from .denoising import Denoised, condition_of, join_runs, sample_clips, sampling_stage
from .prompts import EncodedPrompts, encode_prompts
from .video_files import VideoFiles, lora_choices
from .video_job import VideoDefaults, VideoJob, make_job
from .video_output import VideoOutput, as_type

StepEnd = Callable[["LuminaVideoPipeline", int, float, dict[str, torch.Tensor]], object]
_PACKAGES = ("av", "diffusers", "transformers", "safetensors")


class LuminaVideoPipeline(Pipeline):
    """Makes videos and images from prompts with the networks of Lumina-Video (arXiv 2502.06782).

    Making one checks, from file headers alone, that all files fit together; weights are read at the first use.

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
        preset: name of the sampling preset that a call without a plan uses.
        size, fps: of the clips that a call makes without saying them; None takes the preset's.
        device: auto, cpu, cuda, cuda:1, mps, or a ``torch.device``.
        dtype: auto (bf16 on CUDA, fp32 elsewhere), fp32, bf16, fp16, or a ``torch.dtype``.
        keep: ``one`` holds one large network in memory at a time and releases it after its stage; ``all`` keeps every
            network loaded between calls. In one call each file is read once either way.
        compiled: run the network's blocks through ``torch.compile`` where this machine can.
        train_size: clip that the checkpoint was trained on, in place of what it says itself; see ``SamplingPlan.rope``.
        vae_tile: side of the VAE's tiles in latent pixels (8 pixels each), from 4; None decodes whole frames, and falls
            back to tiles when memory runs out.

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
        super().__init__(device, dtype, keep)
        if preset not in PRESETS:
            raise LuminaError(f"preset is '{preset}'; use one of {', '.join(PRESETS)}.", field="preset")
        check_packages(*_PACKAGES)
        clip = preset_clip(preset)
        self.files = files
        self.config = files.read_config(train_size)
        self.defaults = VideoDefaults(preset=preset, size=size or clip.size, fps=clip.fps if fps is None else fps)
        self.compiled, self.vae_tile = compiled, vae_tile
        self.train_size = train_size

    @classmethod
    def from_files(
        cls,
        *,
        checkpoint: str | Path,
        text_encoder: str | Path,
        vae: str | Path,
        loras: Sequence[LoraChoice | str | Path | tuple[str | Path, float]] = (),
        **settings: Any,
    ) -> LuminaVideoPipeline:
        """A pipeline of these files.

        Args:
            checkpoint: folder in the released layout, or one .safetensors or .pth file.
            text_encoder: google/gemma-2-2b in the transformers layout.
            vae: vae folder of CogVideoX-2b, or one .safetensors file.
            loras: LoRA files for the checkpoint: paths, or pairs of path and strength.
            settings: arguments of the class.

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
        loras: Sequence[LoraChoice | str | Path | tuple[str | Path, float]] = (),
        **settings: Any,
    ) -> LuminaVideoPipeline:
        """A pipeline of a bundle, with its preset, size and frame rate.

        Args:
            name: of a bundle that is part of the package, or the folder of one.
            loras: see ``from_files``.
            settings: arguments of the class.

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
        strength: float = 1.0,
        hold: float = HOLD,
        start: int = 0,
        stop: int | None = None,
        videos_per_prompt: int = 1,
        batch_size: int = 1,
        output_type: str = "pt",
        callback: Callback | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> VideoOutput:
        """Make clips. The result of a clip does not depend on which others are made in the same call.

        All prompts are encoded first, then all clips are sampled, then decoded. Memory holds the networks as ``keep``
        says, the activations of ``batch_size`` clips, and the frames of all.

        Args:
            prompt: what to show; a list makes a clip of each.
            negative_prompt: what to avoid; one for all prompts, or one for each.
            plan: a ``SamplingPlan``, the name of a preset, or None for the pipeline's own.
            size: (width, height) in pixels, or a ``VideoSize``; None takes the preset's.
            frames: 1 for an image, else a multiple of 4, and of 8 to keep the count; None takes the preset's.
            fps: frames per second of the result, above 0 and up to 1000; it does not change the frames.
            seed: 0 to 2**64 - 1. A number s gives the clips of a prompt s, s + 1, ...; a list gives one to each clip.
            generator: draws the noise in place of ``seed``, clip after clip; a list gives one to each clip.
            latents: (1 or B, C, f, h, w): the noise itself, or the state at step ``start`` from an earlier call.
            image: frames that the clip begins with: one image, or 8, 16, ... frames to continue from. A tensor or array
                (H, W, 3) or (N, H, W, 3) in 0..1 or uint8, or PIL images; cropped and resized to the clip's size.
            video: frames to re-render, of the same types; 1 or a multiple of 8. They set the number of frames.
            strength: of video-to-video: share of the steps that run, above 0 to 1. 1 keeps nothing of the video.
            hold: of ``image``: flow time up to which the frames next to the given ones are held, 0 to 1.
            start, stop: run only these steps of the plan, as in ``range``: a draft, to be refined by a later call.
            videos_per_prompt: clips of each prompt.
            batch_size: clips sampled together. More take more memory, and save time only for small clips on a GPU.
            output_type: ``pt``, ``np``, ``pil``, or ``latent`` to decode nothing.
            callback: a ``ProgressObserver``, or a function that takes a ``StepUpdate`` after each step; where it
                returns False the run is cancelled.
            callback_on_step_end: as in diffusers, ``f(pipe, step, t, {"latents": ..., "denoised": ...})``, with flow
                time t from 0 to 1. The tensors are for reading; returning False cancels the run.

        Raises:
            LuminaError: something does not fit, found before weights are read where it can be; or no memory is left.
            SamplingCancelled: a callback returned False.
        """
        observer = as_observer(callback)
        job = self.prepare(
            prompt,
            negative_prompt,
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
        with self.run(job, observer, callback_on_step_end) as found:
            decoded = None
            if job.output_type != "latent":
                observer.stage("decoding")
                decoded = as_type(self.decode(found.estimate, callback=observer), job.output_type)
        return VideoOutput(decoded, found.latents, job.fps, found.nfe, found.passes, found.reused, job.seeds)

    def prepare(
        self, prompt: str | Sequence[str], negative_prompt: str | Sequence[str] = "", **arguments: Any
    ) -> VideoJob:
        """Check the arguments of a call before any weights are read. Arguments and errors as ``__call__``.

        Returns:
            What ``run`` takes.
        """
        return make_job(self.config, self.defaults, prompt, negative_prompt, vae_tile=self.vae_tile, **arguments)

    @contextmanager
    def run(
        self, job: VideoJob, callback: Callback | None = None, callback_on_step_end: StepEnd | None = None
    ) -> Iterator[Denoised]:
        """All stages of a call up to the latents; within the ``with`` block the VAE is loaded, ready to decode them.

        Raises LuminaError and SamplingCancelled as ``__call__``.
        """
        observer = as_observer(callback)
        for note in job.notes:
            observer.note(note)
        if warning := check_memory(self.memory_run(job), self.device, available_memory(self.device)):
            observer.note(warning)
        observer.stage("reading the VAE")
        # It is small, and a fault in it should show before the sampling, not after.
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
        """What decides how much memory a call takes, for ``cost.memory``."""
        size, batch = self.dtype.itemsize, min(job.batch_size, job.clips)
        return RunSpec(
            self.config, job.latent, job.plan, batch=batch, dtype_size=size, weight_size=size, tile=self.vae_tile
        )

    def encode_prompt(
        self, prompt: str | Sequence[str], negative_prompt: str | Sequence[str] = "", callback: Callback | None = None
    ) -> EncodedPrompts:
        """Text features of prompts and negative prompts, each encoded alone behind the system prompt.

        Args:
            prompt: one text or several; at most 256 tokens each count, system prompt included.
            negative_prompt: one for all, or one for each.
            callback: its ``note`` hears of prompts that were cut.

        Raises:
            LuminaError: the text encoder cannot be read, or gave values that are not finite.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        negatives = [negative_prompt] * len(prompts) if isinstance(negative_prompt, str) else list(negative_prompt)

        def load():
            return load_text_encoder(self.files.text_encoder, self.device, promote_fp16(self.dtype))

        with self.network("text encoder", load) as encoder:
            encoded = encode_prompts(encoder, prompts, negatives, as_observer(callback).note)
            del encoder
        return encoded

    def prepare_latents(
        self,
        size: VideoSize,
        seeds: Sequence[int] = (0,),
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """The noise (B, C, f, h, w) of ``len(seeds)`` clips, on the device and in the dtype of the run.

        Args:
            size: pixels and frames.
            seeds: one per clip; a seed gives the same noise whatever is made with it.
            generator: draws in place of the seeds; see ``base.draw_noise``.

        Raises:
            LuminaError: a size or seed is out of range.
        """
        return draw_noise(size.latent().shape(self.config.channels), seeds, generator, self.device, self.dtype)

    def encode_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, n, h, w), float32 on the CPU, of frames (N, H, W, 3) in 0..1; N is 1 or a multiple of 8.

        Raises:
            LuminaError: the shape does not fit the VAE.
        """
        with self._vae(at_work=True) as vae:
            return vae.encode(frames)

    def denoise(
        self,
        latents: torch.Tensor,
        prompts: EncodedPrompts,
        plan: SamplingPlan,
        *,
        start: int = 0,
        stop: int | None = None,
        condition: FrameCondition | None = None,
        batch_size: int = 1,
        callback: Callback | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> Denoised:
        """Sample clips from their noise, or from their state at step ``start``.

        Args:
            latents: (B, C, f, h, w), noise at step 0; its dtype is that of the run.
            prompts: of B clips; see ``encode_prompt``.
            plan, start, stop, batch_size: see ``prepare``.
            condition: known latent frames of every clip.
            callback, callback_on_step_end: see ``__call__``.

        Raises:
            LuminaError: shapes do not fit; the first step gave NaN or a constant frame; or no memory is left.
            SamplingCancelled: a callback returned False.
        """
        observer, stop = as_observer(callback), plan.steps if stop is None else stop
        prompts.check_count(len(latents))

        def step_done(update: StepUpdate) -> bool | None:
            goes_on = observer.step(update)
            if callback_on_step_end is not None and goes_on is not False:
                tensors = {"latents": update.latents, "denoised": update.denoised}
                goes_on = callback_on_step_end(self, update.step, update.t, tensors)
            return False if goes_on is False else None

        observer.stage("reading the network")
        runs = []
        with self.network("network", lambda: self._load_network(observer)) as model:
            for first in range(0, len(latents), batch_size):
                clips = slice(first, first + batch_size)
                observer.stage(sampling_stage(clips, len(latents)))
                known = None if condition is None else condition_of(condition, clips)
                texts = prompts.batch(clips)
                runs.append(
                    sample_clips(model, latents[clips], texts, plan, start, stop, known, observer, step_done)
                )
            del model
        found = join_runs(runs)
        if plan.cache:
            observer.note(summary(found.reused, (stop - start) * len(latents)))
        return found

    def decode(self, latents: torch.Tensor, callback: Callback | None = None) -> torch.Tensor:
        """Frames (B, F, H, W, 3), float32 in 0..1 on the CPU, of latents (B, C, f, h, w).

        Args:
            latents: as sampled.
            callback: its ``frames`` sees each part as it is decoded.

        Raises:
            LuminaError: wrong shapes, or values that are not finite.
        """
        with self._vae():
            return torch.stack(
                [torch.cat(list(self.decode_stream(clip[None], callback=callback))) for clip in latents]
            )

    def decode_stream(self, latents: torch.Tensor, callback: Callback | None = None) -> Iterator[torch.Tensor]:
        """As ``decode``, a few frames at a time, so that memory does not grow with the clip.

        Args:
            latents: of one clip (1, C, f, h, w).
            callback: its ``note`` hears of a fallback to tiles, its ``frames`` sees each part.

        Yields:
            (f, H, W, 3) float32 in 0..1 on the CPU, f mostly 8.
        """
        observer = as_observer(callback)
        with self._vae(at_work=True) as vae:
            for part in decode_stream(vae, latents, self.vae_tile, observer.note):
                observer.frames(part)
                yield part

    @contextmanager
    def _vae(self, at_work: bool = False) -> Iterator[VideoVAE]:
        """The VAE; on the device while ``at_work``, else in main memory where one network is kept."""
        home = self.device if self.keep == "all" else torch.device("cpu")
        with self.network("VAE", lambda: load_video_vae(self.files.vae, home, promote_fp16(self.dtype))) as vae:
            if not at_work:
                yield vae
                return
            vae.module.to(self.device)
            try:
                yield vae
            finally:
                vae.module.to(home)

    def _load_network(self, observer: ProgressObserver) -> Any:
        model = load_video_model(self.files.checkpoint, self.device, self.dtype)
        model.config = self.config
        for lora in self.files.loras:
            apply_lora(model, lora.path, lora.strength)
        prepare_for_cpu(model)
        return compile_blocks(model, self.device, report=observer.note) if self.compiled else model

    def _condition(self, job: VideoJob, observer: ProgressObserver) -> FrameCondition | None:
        """The known latent frames of a call with images."""
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
