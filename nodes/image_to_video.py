"""A node for image-to-video and continuation of a clip, with the host's own noise mask."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..lumina_core.sampling.frame_conditioning import HOLD, condition_on_frames, given_latents
from ..lumina_core.shapes.latents import FRAME_BATCH
from .host.video_model import check_lumina_model
from .inputs import DEFAULT_SIZE, first_fault
from .names import schema
from .plan_inputs import PlanNode

TITLE = "Lumina-Video Image to Video"


def set_release_times(model):
    """A clone that reads a noise mask as release times: the sigma below which a region is sampled freely.

    Without it the host reads a noise mask as a share to blend.
    """
    model = model.clone()
    model.set_model_denoise_mask_function(_release_mask)
    return model


def _release_mask(sigma: torch.Tensor, denoise_mask: torch.Tensor, extra_options: dict) -> torch.Tensor:
    """The host's denoise mask hook: 1 where the region is free at ``sigma`` (B,), 0 where it is held."""
    return (denoise_mask >= sigma.view(-1, *[1] * (denoise_mask.ndim - 1))).to(denoise_mask.dtype)


def conditioned_latent(vae, images: torch.Tensor, frames: int, hold: float) -> dict:
    """A native LATENT of one clip that begins with ``images``, with a noise mask for `set_release_times`.

    Args:
        vae: a native VAE, which crops the sides to multiples of 8.
        images: (F, H, W, 3) in 0..1.
        frames: length of the clip.
        hold: flow time until which frames next to the given ones are held, 0 to 1.

    Raises:
        LuminaError: the number of images or frames is invalid.
    """
    condition = condition_on_frames(vae.encode, images, frames, hold)
    free_from = 1.0 - torch.tensor(condition.release_times)
    mask = free_from.view(1, 1, -1, 1, 1).expand(1, 1, *condition.latents.shape[2:]).clone()
    return {"samples": condition.latents, "noise_mask": mask}


class ImageToVideo(PlanNode):
    """A MODEL and a LATENT for image-to-video or continuation."""

    plan_inputs = ("frames",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ImageToVideo",
            title=TITLE,
            description="Image-to-video, or continuation of a clip from its last frames, with any sampler. "
            "Connect both outputs to the sampler. The prompt should describe the image and how it moves.",
            aliases=("i2v", "first frame", "continue", "extend video", "inpaint"),
            inputs=[
                io.Model.Input("model", tooltip="A Lumina-Video MODEL."),
                io.Vae.Input("vae", tooltip="From Load Lumina-Video VAE."),
                io.Image.Input(
                    "images",
                    tooltip="One image, or the last 8, 16, ... frames of the clip to continue, in the size of the "
                    "new clip.",
                ),
                io.Int.Input(
                    "frames",
                    default=DEFAULT_SIZE.frames,
                    min=FRAME_BATCH,
                    max=512,
                    step=FRAME_BATCH,
                    tooltip="Length of the new clip in frames, including the given ones: a multiple of 8.",
                ),
                io.Float.Input(
                    "hold",
                    default=HOLD,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Frames next to the given ones are held until this t; frames farther away are "
                    "released earlier. Higher gives a smoother transition, lower gives more motion; 0 holds only "
                    "the given frames.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="Connect to the sampler of this latent."),
                io.Latent.Output(tooltip="The latent with its noise mask; sample it with denoise 1."),
            ],
        )

    @classmethod
    def validate_inputs(cls, frames=None):
        return True if frames is None else first_fault(lambda: given_latents(1, frames))

    @classmethod
    def execute(cls, model, vae, images, frames, hold) -> io.NodeOutput:
        check_lumina_model(model, TITLE, "Load Lumina-Video Model")
        given_latents(len(images), frames)
        latent = conditioned_latent(vae, images, frames, hold)
        model.model.diffusion_model.config.check_channels(latent["samples"].shape[1])
        return io.NodeOutput(set_release_times(model), latent)
