"""A loader for the images of Lumina-Next as a native MODEL."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..lumina_core.checkpoints.detect import IMAGE
from .host.image_model import load_image
from .host.model_files import check_kind, model_files, own_file, stamp
from .inputs import first_fault
from .loaders import WEIGHT_DTYPES, weight_dtype_input
from .names import schema

# Number of guided latent channels by choice; None is all.
GUIDED = {"all": None, "first 3": 3}


class ImageModelLoader(io.ComfyNode):
    """A Lumina-Next checkpoint as a MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ImageModelLoader",
            title="Load Lumina-Next Model",
            description="Loads the text-to-image models Lumina-Next-T2I and Lumina-Next-SFT as a MODEL for "
            "KSampler and the other samplers of ComfyUI. Original and diffusers checkpoints are detected "
            "automatically.",
            aliases=("next", "image", "checkpoint", "diffusion model", "unet", "t2i", "sft"),
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_files(IMAGE),
                    tooltip="A file in models/diffusion_models: the released consolidated.00-of-01, or "
                    "transformer/diffusion_pytorch_model from diffusers, with its config file next to it.",
                ),
                weight_dtype_input(),
                io.Combo.Input(
                    "guided_channels",
                    options=list(GUIDED),
                    default="all",
                    optional=True,
                    tooltip="Latent channels to which CFG applies. The official sampler guides only the first 3 "
                    "of 4; choose first 3 to reproduce its images.",
                ),
            ],
            advanced=("guided_channels",),
            outputs=[io.Model.Output(tooltip="The model, with the released time shift of 4 set for KSampler.")],
        )

    @classmethod
    def validate_inputs(cls, model_name):
        return first_fault(lambda: check_kind(_weights(model_name), IMAGE))

    @classmethod
    def fingerprint_inputs(cls, model_name, weight_dtype, guided_channels="all"):
        return stamp(_weights(model_name))

    @classmethod
    def execute(cls, model_name, weight_dtype, guided_channels="all") -> io.NodeOutput:
        return io.NodeOutput(load_image(_weights(model_name), WEIGHT_DTYPES[weight_dtype], GUIDED[guided_channels]))


def _weights(name: str) -> Path:
    return own_file("diffusion_models", name, "model_name")
