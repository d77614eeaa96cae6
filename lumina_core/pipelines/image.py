"""Text-to-image with Lumina-Next, the image model that Lumina-Video is based on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.image import ImageCheckpoint, load_image_model
from ..network.cpu_kernels import prepare_for_cpu
from ..network.extrapolation import size_warning, trained_size
from ..network.image import ImageNextDiT
from ..runtime.devices import promote_fp16
from ..sampling.plan import SamplingPlan
from ..shapes.latents import LatentSize, VideoSize
from ..text.gemma import TextEncoder, load_text_encoder, read_text_width
from ..vae.image import ImageVAE, load_image_vae, read_image_vae_channels
from .base import (
    Callback,
    Keep,
    Pipeline,
    as_observer,
    check_count,
    check_output_type,
    check_packages,
    clip_seeds,
    draw_noise,
)
from .denoising import Denoised, StepEnd, after_step, check_steps, sample_batches
from .prompts import EncodedPrompts, check_prompts, encode_prompts
from .video_output import OUTPUT_TYPES, as_type

# The released settings (Lumina-T2X, lumina_next_t2i/demo.py): 30 steps at a CFG scale of 4, time-aware scaled RoPE.
IMAGE_PLAN = SamplingPlan(patch="1x2", guidance=3.0, points=31, time_shift=4.0, rope="time-step", proportional=True)
_PACKAGES = ("diffusers", "transformers", "safetensors")


@dataclass(frozen=True)
class ImageOutput:
    """What ``LuminaImagePipeline`` returns.

    Args:
        images: (B, H, W, 3), float32 in 0..1 on the CPU; a numpy array for ``np``, a list of PIL images for ``pil``,
            None for ``latent``. If the run stops early, these are the images of its last estimate of the data, a draft.
        latents: (B, C, h, w) on the CPU, in the dtype of the run: the data, or the state at step ``stop``, which a
            later call takes as ``latents`` together with ``start``.
        nfe: evaluations for all images together, each of one or two forward passes.
        passes: forward passes for all images together.
        seeds: one for each image; unused if a generator or latents were given.
    """

    images: Any
    latents: torch.Tensor
    nfe: int
    passes: int
    seeds: tuple[int, ...]


class LuminaImagePipeline(Pipeline):
    """Makes images from prompts with Lumina-Next-T2I or -SFT: loaded once, called many times.

    Construction checks from file headers alone that all files fit together; weights are read at the first use.

    Example:
        >>> from lumina_core import LuminaImagePipeline
        >>> pipe = LuminaImagePipeline.from_files(
        ...     checkpoint="Lumina-Next-SFT", text_encoder="gemma-2b", vae="sdxl_vae.safetensors"
        ... )  # doctest: +SKIP
        >>> pipe("a red fox in fresh snow", output_type="pil").images[0].save("fox.png")  # doctest: +SKIP

    For users of diffusers:

    =============================  ==============================================================
    diffusers                      here
    =============================  ==============================================================
    ``from_pretrained``            ``from_files``
    ``num_inference_steps=n``      ``plan.replace(points=n + 1)``
    ``guidance_scale=s``           ``plan.replace(guidance=s - 1)``; both may change over time
    ``num_images_per_prompt``      ``images_per_prompt``
    ``generator``                  ``generator``, or ``seed``
    ``height``, ``width``          the same names
    ``latents``, ``output_type``   the same names; ``pt`` is the default
    ``callback_on_step_end``       the same name, or ``callback`` for more than steps
    ``prompt_embeds``              ``encode_prompt`` and ``denoise``
    ``enable_model_cpu_offload()`` ``keep="one"``
    =============================  ==============================================================

    Args:
        checkpoint: folder in the released or diffusers' layout, or one .safetensors or .pth file.
        text_encoder: google/gemma-2b (the first Gemma) in the transformers layout.
        vae: SDXL's VAE, a diffusers folder or one .safetensors file.
        device: auto, cpu, cuda, cuda:1, mps, or a ``torch.device``.
        dtype: auto (bf16 on CUDA, fp32 elsewhere), fp32, bf16, fp16, or a ``torch.dtype``.
        keep: ``one`` releases each network after its stage, ``all`` keeps them between calls; see ``Pipeline``.
        guided_channels: how many latent channels are guided, from the first; None is all. The released sampler guides 3
            of 4.

    Raises:
        LuminaError: a file is missing or damaged, or the files do not fit together.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        text_encoder: str | Path,
        vae: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        keep: Keep = "one",
        guided_channels: int | None = None,
    ):
        super().__init__(device, dtype, keep)
        check_packages(*_PACKAGES)
        self.checkpoint = ImageCheckpoint.open(checkpoint)
        self.text_encoder, self.vae = Path(text_encoder), Path(vae)
        self.config = replace(self.checkpoint.config, guided_channels=guided_channels)
        self.config.check_text_width(read_text_width(self.text_encoder))
        self.config.check_channels(read_image_vae_channels(self.vae))

    @classmethod
    def from_files(
        cls, *, checkpoint: str | Path, text_encoder: str | Path, vae: str | Path, **settings: Any
    ) -> LuminaImagePipeline:
        """A pipeline of these files; arguments and errors as for the class."""
        return cls(checkpoint, text_encoder, vae, **settings)

    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] = "",
        *,
        plan: SamplingPlan = IMAGE_PLAN,
        width: int = 1024,
        height: int = 1024,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        start: int = 0,
        stop: int | None = None,
        images_per_prompt: int = 1,
        batch_size: int = 1,
        output_type: str = "pt",
        callback: Callback | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> ImageOutput:
        """Make images. With ``batch_size`` 1 an image does not depend on the others of the call.

        Args:
            prompt: what to show; a list makes an image of each prompt. Up to 256 tokens are used.
            negative_prompt: what to avoid; one for all prompts, or one for each.
            plan: steps, guidance, solver and RoPE scaling, at patch size 1x2.
            width, height: pixels, multiples of 16.
            seed: 0 to 2**64 - 1. A number s gives the images of a prompt the seeds s, s + 1, ...; a list has one seed
                for each image.
            generator: draws the noise in place of ``seed``; a list has one for each image.
            latents: (1 or B, C, h, w): the noise, or the state at step ``start`` from an earlier call.
            start, stop: run only these steps of the plan, as in ``range``: a draft, which a later call refines.
            images_per_prompt: images of each prompt.
            batch_size: images that are sampled together. More need more memory, and change the rounding in the last
                digits.
            output_type: ``pt``, ``np``, ``pil``, or ``latent`` to skip decoding.
            callback: a ``ProgressObserver``, or a function that is called with a ``StepUpdate`` after each step and
                cancels the run by returning False.
            callback_on_step_end: see ``LuminaVideoPipeline.__call__``.

        Returns:
            Images, latents and counts, prompt by prompt; see ``ImageOutput``.

        Raises:
            LuminaError: an argument or file does not fit (before weights are read, if possible), or memory ran out.
            SamplingCancelled: a callback returned False.
        """
        observer = as_observer(callback)
        check_count("batch_size", batch_size)
        check_output_type(output_type, *OUTPUT_TYPES)
        prompts, negatives = check_prompts(prompt, negative_prompt)
        size = VideoSize(width, height, 1).latent()
        self.config.check_size(size, plan.patches)
        trained_size(self.config, plan.network)
        stop = check_steps(plan, start, stop, latents)
        states = len(latents) if getattr(latents, "ndim", 0) == 4 and latents is not None else 1
        seeds = clip_seeds(seed, len(prompts), images_per_prompt, "images_per_prompt", states)
        noise = self._noise(size, seeds, generator, latents)
        if warning := size_warning(self.config, size, plan.patches, plan.network):
            observer.note(warning)
        observer.stage("reading the VAE")
        # The VAE is small, and a fault in its file should show before sampling, not after.
        with self.network("VAE", self._load_vae):
            observer.stage("encoding the prompts")
            each = len(seeds) // len(prompts)
            prompts, negatives = ([text for text in texts for _ in range(each)] for texts in (prompts, negatives))
            encoded = self.encode_prompt(prompts, negatives, observer)
            found = self.denoise(
                noise,
                encoded,
                plan,
                start=start,
                stop=stop,
                batch_size=batch_size,
                callback=observer,
                callback_on_step_end=callback_on_step_end,
            )
            images = None
            if output_type != "latent":
                observer.stage("decoding")
                images = as_type(self.decode(found.estimate), output_type)
        return ImageOutput(images, found.latents, found.nfe, found.passes, seeds)

    def encode_prompt(
        self, prompt: str | Sequence[str], negative_prompt: str | Sequence[str] = "", callback: Callback | None = None
    ) -> EncodedPrompts:
        """Text features of prompts and negative prompts, each encoded alone.

        Args:
            prompt: one text or several.
            negative_prompt: one for all, or one for each.
            callback: its ``note`` reports prompts that were truncated.

        Raises:
            LuminaError: the text encoder cannot be read, or a text is not valid Unicode.
        """
        prompts, negatives = check_prompts(prompt, negative_prompt)
        with self.network("text encoder", self._load_text_encoder) as encoder:
            encoded = encode_prompts(encoder, prompts, negatives, as_observer(callback).note)
            # The pipeline releases the encoder only if no other reference to it is left.
            del encoder
        return encoded

    def prepare_latents(
        self,
        width: int,
        height: int,
        seeds: Sequence[int] = (0,),
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """The noise (B, C, height / 8, width / 8) of ``len(seeds)`` images, on the device and in the dtype of the run.

        Args:
            width, height: pixels.
            seeds: one for each image.
            generator: draws the noise in place of the seeds.

        Raises:
            LuminaError: a size or seed is out of range.
        """
        return self._noise(VideoSize(width, height, 1).latent(), seeds, generator, None)

    def denoise(
        self,
        latents: torch.Tensor,
        prompts: EncodedPrompts,
        plan: SamplingPlan = IMAGE_PLAN,
        *,
        start: int = 0,
        stop: int | None = None,
        batch_size: int = 1,
        callback: Callback | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> Denoised:
        """Sample images from their noise, or from their state at step ``start``.

        Args:
            latents: (B, C, h, w), noise at step 0; its dtype is the dtype of the run.
            prompts: of B images; see ``encode_prompt``.
            plan, start, stop, batch_size, callback, callback_on_step_end: see ``__call__``.

        Returns:
            Latents (B, C, h, w) and counts.

        Raises:
            LuminaError: shapes do not fit, the first velocity is not finite or is constant, or memory ran out.
            SamplingCancelled: a callback returned False.
        """
        observer, steps = as_observer(callback), range(start, plan.steps if stop is None else stop)
        prompts.check_count(len(latents))
        step_done = after_step(self, observer, callback_on_step_end)
        observer.stage("reading the network")
        with self.network("network", self._load_network) as model:
            found = sample_batches(
                model,
                latents[:, :, None],
                prompts,
                plan,
                observer,
                step_done,
                steps=steps,
                batch_size=batch_size,
                kind="image",
            )
            # The pipeline releases the network only if no other reference to it is left.
            del model
        return replace(found, latents=found.latents[:, :, 0], estimate=found.estimate[:, :, 0])

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images (B, H, W, 3), float32 in 0..1 on the CPU, of latents (B, C, h, w).

        Raises:
            LuminaError: the shape does not fit the VAE, or the images are not finite.
        """
        with self.network("VAE", self._load_vae) as vae:
            return vae.decode(latents)

    def _noise(
        self,
        size: LatentSize,
        seeds: Sequence[int],
        generator: torch.Generator | Sequence[torch.Generator] | None,
        latents: torch.Tensor | None,
    ) -> torch.Tensor:
        shape = (self.config.channels, size.height, size.width)
        return draw_noise(shape, seeds, generator, self.device, self.dtype, latents)

    def _load_text_encoder(self) -> TextEncoder:
        return load_text_encoder(self.text_encoder, self.device, promote_fp16(self.dtype))

    def _load_network(self) -> ImageNextDiT:
        model = load_image_model(self.checkpoint, self.device, self.dtype, self.config)
        prepare_for_cpu(model)
        return model

    def _load_vae(self) -> ImageVAE:
        return load_image_vae(self.vae, self.device, promote_fp16(self.dtype))
