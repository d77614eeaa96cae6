"""Nodes for empty latents of valid sizes, official noise, and previews of latents."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..lumina_core.errors import LuminaError
from ..lumina_core.sampling.plan import patch_schedule
from ..lumina_core.shapes.latents import LATENT_CHANNELS, VAE_FRAMES, VAE_SPACE, LatentSize
from ..lumina_core.vae.latent_preview import latents_to_rgb
from ..lumina_core.vae.loader import SCALE
from .host.devices import result_device
from .host.latent_format import LuminaVideoLatent
from .host.sampling import OfficialNoise
from .inputs import first_fault, latent_size, patch_input, seed_input, size_inputs
from .names import schema
from .plan_inputs import PlanNode


def empty_latent(width: int, height: int, frames: int, batch_size: int = 1, channels: int = LATENT_CHANNELS) -> dict:
    """A native LATENT of zeros. Samplers of the host adapt its channels to their model. Raises LuminaError."""
    size = latent_size(width, height, frames)
    samples = torch.zeros((batch_size, *size.shape(channels)), device=result_device())
    return {"samples": samples, "downscale_ratio_spacial": VAE_SPACE, "downscale_ratio_temporal": VAE_FRAMES}


def check_size(width: int, height: int, frames: int, patch: str) -> LatentSize:
    """The latent size, checked against every patch size of the schedule. Raises LuminaError."""
    size = latent_size(width, height, frames)
    size.check_all(patch_schedule(patch).values)
    return size


class EmptyLatent(PlanNode):
    """An empty video LATENT."""

    plan_inputs = ("width", "height", "frames", "batch_size")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "EmptyLatent",
            title="Empty Lumina-Video Latent",
            description="An empty video latent. A size that the patch schedule cannot divide is rejected when "
            "you queue, with the nearest valid size.",
            aliases=("empty latent video", "resolution", "size", "frames"),
            inputs=[
                *size_inputs(),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="Number of clips in the batch."),
                patch_input(note="The patch schedule of the model, used here only to check the size. "),
            ],
            outputs=[io.Latent.Output(tooltip="For any sampler.")],
        )

    @classmethod
    def validate_inputs(
        cls,
        width: int | None = None,
        height: int | None = None,
        frames: int | None = None,
        patch: str | None = None,
    ):
        if width is None or height is None or frames is None or patch is None:
            return True
        return first_fault(lambda: check_size(width, height, frames, patch))

    @classmethod
    def execute(cls, width, height, frames, batch_size, patch) -> io.NodeOutput:
        check_size(width, height, frames, patch)
        return io.NodeOutput(empty_latent(width, height, frames, batch_size))


class Noise(io.ComfyNode):
    """Official noise as NOISE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Noise",
            title="Lumina-Video Official Noise",
            description="Noise drawn as in the official code (bf16 on CUDA), so that a seed reproduces its "
            "clip. On other devices it equals the built-in RandomNoise.",
            aliases=("random noise", "seed", "cuda noise"),
            inputs=[seed_input("the noise")],
            outputs=[io.Noise.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, seed) -> io.NodeOutput:
        return io.NodeOutput(OfficialNoise(seed))


class LatentPreview(io.ComfyNode):
    """A contact sheet of latents as IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LatentPreview",
            title="Lumina-Video Latent Preview",
            description="A quick, rough preview of latents without the VAE: one row per clip, frames from "
            "left to right. Use it to choose among drafts.",
            aliases=("draft", "contact sheet", "thumbnail", "latent to rgb"),
            inputs=[
                io.Latent.Input(
                    "samples", tooltip="Denoised latents: the output denoised_output of SamplerCustomAdvanced."
                ),
                io.Int.Input(
                    "columns", default=6, min=1, max=64, tooltip="Number of frames shown per clip, evenly spaced."
                ),
                io.Int.Input("scale", default=4, min=1, max=16, tooltip="Image pixels per latent pixel."),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that generated the latents. Needed for the bundled model: without it, the "
                    "preview colors of the released models are used.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="One image with all clips.")],
        )

    @classmethod
    def execute(cls, samples, columns, scale, model=None) -> io.NodeOutput:
        latent_format = LuminaVideoLatent() if model is None else model.get_model_object("latent_format")
        factors = latent_format.preview_rows() if isinstance(latent_format, LuminaVideoLatent) else None
        if factors is None:
            raise LuminaError(
                "This model has no preview colors; decode with the VAE, or save the checkpoint with "
                "latent_rgb in its metadata.",
                field="model",
                kind="missing",
            )
        return io.NodeOutput(contact_sheet(samples["samples"], columns, scale, latent_format.latent_channels, factors))


def contact_sheet(
    latents: torch.Tensor, columns: int, scale: int, channels: int, factors: list[list[float]]
) -> torch.Tensor:
    """Latents as one IMAGE (1, B * H * scale, columns * W * scale, 3) in 0..1, one row per clip.

    Args:
        latents: (B, C, F, H, W), unscaled.
        columns: number of latent frames shown per clip.
        scale: pixels per latent pixel.
        channels: C of the model's latents.
        factors: preview colors of the model; see ``latents_to_rgb``.

    Raises:
        LuminaError: the latents have another shape.
    """
    if latents.ndim != 5 or latents.shape[1] != channels:
        raise LuminaError(
            f"samples have shape {tuple(latents.shape)}, expected Lumina-Video latents (batch, {channels}, frames, "
            "height, width); connect the model that generated them.",
            field="samples",
            kind="mismatch",
        )
    frames = torch.linspace(0, latents.shape[2] - 1, min(columns, latents.shape[2])).round().long()
    rgb = latents_to_rgb(latents[:, :, frames].float().cpu() * SCALE, factors)
    sheet = rgb.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    return sheet.repeat_interleave(scale, 0).repeat_interleave(scale, 1)[None]
