"""The stages of the video pipeline, each usable alone: encode prompts and frames, draw noise, denoise, decode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from ..checkpoints.lora import apply_lora
from ..checkpoints.video import load_video_model
from ..network.compilation import compile_blocks
from ..network.cpu_kernels import prepare_for_cpu
from ..runtime.devices import promote_fp16
from ..sampling.frame_conditioning import FrameCondition
from ..sampling.plan import SamplingPlan
from ..shapes.latents import VideoSize
from ..text.gemma import TextEncoder, load_text_encoder
from ..vae.loader import VideoVAE, load_video_vae
from ..vae.oom_decode import decode_stream
from .base import Callback, Keep, Pipeline, ProgressObserver, as_observer, check_packages, draw_noise
from .denoising import Denoised, StepEnd, after_step, sample_batches
from .prompts import EncodedPrompts, check_prompts, encode_prompts
from .video_files import VideoFiles

_PACKAGES = ("av", "diffusers", "transformers", "safetensors")


class VideoStages(Pipeline):
    """The networks of a text-to-video model, and the stages from a prompt to frames.

    Args:
        files: where the networks are.
        device, dtype, keep: see ``Pipeline``.
        compiled: run the blocks of the network through ``torch.compile`` if this machine can.
        train_size: size of the clips that the checkpoint was trained on, in place of what its configuration says.
        vae_tile: side of the VAE's tiles in latent pixels, from 4; None decodes whole frames.

    Raises:
        LuminaError: a package or file is missing, a file is damaged, or the files do not fit together.
    """

    def __init__(
        self,
        files: VideoFiles,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        keep: Keep = "one",
        compiled: bool = False,
        train_size: VideoSize | None = None,
        vae_tile: int | None = None,
    ):
        super().__init__(device, dtype, keep)
        check_packages(*_PACKAGES)
        self.files = files
        self.checkpoint = files.open()
        config = self.checkpoint.config
        self.config = config if train_size is None else replace(config, train_size=train_size.latent())
        self.compiled, self.vae_tile, self.train_size = compiled, vae_tile, train_size

    def encode_prompt(
        self, prompt: str | Sequence[str], negative_prompt: str | Sequence[str] = "", callback: Callback | None = None
    ) -> EncodedPrompts:
        """Text features of prompts and negative prompts, each encoded alone after the system prompt.

        Args:
            prompt: one text or several. Up to 256 tokens of each are used, system prompt included.
            negative_prompt: one for all prompts, or one for each.
            callback: its ``note`` reports prompts that were truncated.

        Raises:
            LuminaError: there is no prompt, or another number of negative prompts; the text encoder cannot be read, or
                its output is not finite.
        """
        prompts, negatives = check_prompts(prompt, negative_prompt)
        with self.network("text encoder", self._load_text_encoder) as encoder:
            encoded = encode_prompts(encoder, prompts, negatives, as_observer(callback).note)
            # The pipeline releases the encoder only if no other reference to it is left.
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
            seeds: one for each clip. The noise of a clip depends on its own seed only.
            generator: draws the noise in place of the seeds; see ``base.draw_noise``.

        Raises:
            LuminaError: a size or seed is out of range.
        """
        return draw_noise(size.latent().shape(self.config.channels), seeds, generator, self.device, self.dtype)

    def encode_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, n, h, w), float32 on the CPU, of frames (N, H, W, 3) in 0..1; N is 1 or a multiple of 8.

        Raises:
            LuminaError: the shape does not fit the VAE.
        """
        with self._vae(in_use=True) as vae:
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
            latents: (B, C, f, h, w), noise at step 0; its dtype is the dtype of the run.
            prompts: of B clips; see ``encode_prompt``.
            plan, start, stop, batch_size: see ``LuminaVideoPipeline.__call__``.
            condition: known latent frames of every clip.
            callback, callback_on_step_end: see ``LuminaVideoPipeline.__call__``.

        Raises:
            LuminaError: shapes do not fit, the first velocity is not finite or is constant, or memory ran out.
            SamplingCancelled: a callback returned False.
        """
        observer, steps = as_observer(callback), range(start, plan.steps if stop is None else stop)
        prompts.check_count(len(latents))
        step_done = after_step(self, observer, callback_on_step_end)
        observer.stage("reading the network")
        with self.network("network", lambda: self._load_network(observer)) as model:
            found = sample_batches(
                model,
                latents,
                prompts,
                plan,
                observer,
                step_done,
                steps=steps,
                batch_size=batch_size,
                condition=condition,
            )
            # The pipeline releases the network only if no other reference to it is left.
            del model
        return found

    def decode(self, latents: torch.Tensor, callback: Callback | None = None) -> torch.Tensor:
        """Frames (B, F, H, W, 3), float32 in 0..1 on the CPU, of latents (B, C, f, h, w).

        Args:
            latents: of B clips, as sampled.
            callback: its ``frames`` is called with each part as it is decoded.

        Raises:
            LuminaError: the shape does not fit the VAE, or the frames are not finite.
        """
        with self._vae():
            return torch.stack([torch.cat(list(self.decode_stream(clip[None], callback=callback))) for clip in latents])

    def decode_stream(self, latents: torch.Tensor, callback: Callback | None = None) -> Iterator[torch.Tensor]:
        """As ``decode``, a few frames at a time, so that memory does not grow with the length of the clip.

        Args:
            latents: of one clip (1, C, f, h, w).
            callback: its ``note`` reports a fallback to tiles, and its ``frames`` is called with each part.

        Yields:
            (f, H, W, 3), float32 in 0..1 on the CPU; f is usually 8.

        Raises:
            LuminaError: see ``decode``.
        """
        observer = as_observer(callback)
        with self._vae(in_use=True) as vae:
            for part in decode_stream(vae, latents, self.vae_tile, observer.note):
                observer.frames(part)
                yield part

    @contextmanager
    def _vae(self, in_use: bool = False) -> Iterator[VideoVAE]:
        """The VAE, on the device while ``in_use``. With ``keep="one"`` it is in main memory otherwise."""
        home = self.device if self.keep == "all" else torch.device("cpu")
        with self.network("VAE", lambda: load_video_vae(self.files.vae, home, promote_fp16(self.dtype))) as vae:
            if not in_use:
                yield vae
                return
            vae.module.to(self.device)
            try:
                yield vae
            finally:
                vae.module.to(home)

    def _load_text_encoder(self) -> TextEncoder:
        return load_text_encoder(self.files.text_encoder, self.device, promote_fp16(self.dtype))

    def _load_network(self, observer: ProgressObserver) -> Any:
        model = load_video_model(self.checkpoint, self.device, self.dtype, self.config)
        for lora in self.files.loras:
            apply_lora(model, lora.path, lora.strength)
        prepare_for_cpu(model)
        return compile_blocks(model, self.device, report=observer.note) if self.compiled else model
