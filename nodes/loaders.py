"""Loaders for released model files and for bundles as native MODEL, VAE and CLIP."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy_api.latest import io

from ..lumina_core.checkpoints.detect import VIDEO, VIDEO_VAE
from ..lumina_core.checkpoints.video import find_weights
from ..lumina_core.vae.loader import find_vae_weights
from .host.bundles import bundle_of, bundled_entries
from .host.model_files import check_kind, model_files, own_file, stamp
from .host.model_patches import guard_first_step
from .host.run_timer import RunTimer
from .host.text_encoder import find_text_encoder, load_clip, text_encoder_folders
from .host.vae import load_vae, vae_files
from .host.video_model import load_model
from .inputs import first_fault
from .names import schema
from .plan_inputs import PlanNode

# The choices of weight_dtype; None leaves the choice to the host.
WEIGHT_DTYPES = {
    "default": None,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


def checkpoint_path(name: str) -> Path:
    """The weights file of an entry of the model loader's list. Raises LuminaError."""
    bundle = bundle_of(name)
    return find_weights(bundle.checkpoint) if bundle else own_file("diffusion_models", name, "model_name")


def _vae(name: str) -> Path:
    bundle = bundle_of(name)
    return find_vae_weights(bundle.vae) if bundle else own_file("vae", name, "vae_name")


def weight_dtype_input() -> io.Combo.Input:
    """The input for one of ``WEIGHT_DTYPES``."""
    return io.Combo.Input(
        "weight_dtype",
        options=list(WEIGHT_DTYPES),
        default="default",
        tooltip="Precision of the weights. default lets ComfyUI choose for your device; fp8 needs "
        "half the memory of bf16, at some loss of quality.",
    )


class ModelLoader(PlanNode):
    """A Lumina-Video checkpoint as a MODEL."""

    plan_inputs = ("model_name", "weight_dtype")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ModelLoader",
            title="Load Lumina-Video Model",
            description="Loads a Lumina-Video checkpoint as a MODEL for every sampler, LoRA loader and model "
            "patch of ComfyUI. A model_args.pth next to it is read without running any code in it.",
            aliases=("checkpoint", "diffusion model", "unet", "load checkpoint"),
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=[*bundled_entries(), *model_files(VIDEO)],
                    tooltip="The bundled model, or a file in models/diffusion_models: the released "
                    "consolidated.00-of-01.pth, or a .safetensors, such as one that lumina-video convert made. Files "
                    "of other models are not listed.",
                ),
                weight_dtype_input(),
            ],
            outputs=[
                io.Model.Output(tooltip="The model. It uses its finest patch size until you set a patch schedule.")
            ],
        )

    @classmethod
    def validate_inputs(cls, model_name):
        return first_fault(lambda: check_kind(checkpoint_path(model_name), VIDEO))

    @classmethod
    def fingerprint_inputs(cls, model_name, weight_dtype):
        return stamp(checkpoint_path(model_name))

    @classmethod
    def execute(cls, model_name, weight_dtype) -> io.NodeOutput:
        model = load_model(checkpoint_path(model_name), WEIGHT_DTYPES[weight_dtype])
        return io.NodeOutput(RunTimer(weight_dtype).install(guard_first_step(model)))


class VAELoader(io.ComfyNode):
    """A video VAE as a native VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VAELoader",
            title="Load Lumina-Video VAE",
            description="Loads the CogVideoX-2b VAE (diffusers layout). It encodes and decodes a few frames "
            "at a time, so its memory use does not grow with the length of the clip.",
            aliases=("cogvideox", "vae", "load vae"),
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    options=[*bundled_entries(), *vae_files()],
                    tooltip="The bundled VAE, or a file in models/vae: diffusion_pytorch_model.safetensors of "
                    "THUDM/CogVideoX-2b under any name. A config.json next to it is used.",
                ),
            ],
            outputs=[io.Vae.Output(tooltip="For VAE Decode, VAE Decode (Tiled) and VAE Encode.")],
        )

    @classmethod
    def validate_inputs(cls, vae_name):
        return first_fault(lambda: check_kind(_vae(vae_name), VIDEO_VAE, "vae_name"))

    @classmethod
    def fingerprint_inputs(cls, vae_name):
        return stamp(_vae(vae_name))

    @classmethod
    def execute(cls, vae_name) -> io.NodeOutput:
        return io.NodeOutput(load_vae(_vae(vae_name)))


class TextEncoderLoader(io.ComfyNode):
    """A Gemma text encoder in the transformers layout as a CLIP."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TextEncoderLoader",
            title="Load Lumina-Video Text Encoder (folder)",
            description="Loads Gemma-2-2B, or the original Gemma-2B for Lumina-Next images, as a CLIP from a "
            "folder in the transformers layout. If you have the single file used by Lumina-Image-2.0, use "
            "the built-in Load CLIP with type lumina2 instead.",
            aliases=("gemma", "clip", "load clip", "text encoder"),
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=[*bundled_entries(), *text_encoder_folders()],
                    tooltip="The bundled text encoder, or a folder in models/text_encoders with config.json, "
                    "tokenizer files and .safetensors weights.",
                ),
            ],
            outputs=[io.Clip.Output(tooltip="For Lumina-Video Text Encode.")],
        )

    @classmethod
    def validate_inputs(cls, folder):
        return first_fault(lambda: find_text_encoder(folder))

    @classmethod
    def execute(cls, folder) -> io.NodeOutput:
        return io.NodeOutput(load_clip(folder))
