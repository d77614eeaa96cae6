"""Load the released model files as native MODEL, VAE and CLIP."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..lumina_core.checkpoint import ARGS_NAME
from .clip_support import load_clip, text_encoder_folders
from .model_patches import guard_first_step
from .model_support import load_model
from .names import schema
from .vae_support import load_vae, vae_files

_DTYPES = {
    "default": None,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


def _stamp(path: str | Path | None) -> str:
    """Changes when the file does, so that the host loads it again.

    Without the path: the host writes this into the metadata of everything that is saved.
    """
    if path is None or not Path(path).exists():
        return ""
    stat = Path(path).stat()
    return f"{stat.st_mtime_ns}:{stat.st_size}"


def _model_files() -> list[str]:
    # The settings beside a released checkpoint end in .pth too.
    return [name for name in folder_paths.get_filename_list("diffusion_models") if Path(name).name != ARGS_NAME]


def _missing(folder: str, name: str) -> str:
    looked = ", ".join(folder_paths.get_folder_paths(folder)) or f"models/{folder}"
    return f"'{name}' is not in {looked}; put the file there and reload the page, or choose another."


class ModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ModelLoader",
            title="Load Lumina-Video Model",
            description="Loads a Lumina-Video checkpoint as a MODEL that every sampler, LoRA loader and model patch "
            "of ComfyUI takes. A model_args.pth beside it is read without running code in it.",
            aliases=("checkpoint", "diffusion model"),
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=_model_files(),
                    tooltip="Weights in models/diffusion_models: the released folder's consolidated.00-of-01 file, or "
                    "a single .safetensors.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(_DTYPES),
                    default="default",
                    tooltip="Precision of the weights; default lets ComfyUI choose for this device, fp8 halves their "
                    "memory at some cost in quality.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model, at its finest patch size until a patch schedule is set.")],
        )

    @classmethod
    def validate_inputs(cls, model_name):
        path = folder_paths.get_full_path("diffusion_models", model_name)
        return True if path else _missing("diffusion_models", model_name)

    @classmethod
    def fingerprint_inputs(cls, model_name, weight_dtype):
        return _stamp(folder_paths.get_full_path("diffusion_models", model_name))

    @classmethod
    def execute(cls, model_name, weight_dtype) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        return io.NodeOutput(guard_first_step(load_model(path, _DTYPES[weight_dtype])))


class VAELoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VAELoader",
            title="Load Lumina-Video VAE",
            description="Loads the CogVideoX-2b VAE in the diffusers layout. Decodes as diffusers does, a few frames "
            "at a time, so memory does not grow with the clip.",
            aliases=("cogvideox", "vae"),
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    options=vae_files(),
                    tooltip="Weights in models/vae: diffusion_pytorch_model.safetensors of THUDM/CogVideoX-2b, under "
                    "any name; a config.json beside it is used.",
                ),
            ],
            outputs=[io.Vae.Output(tooltip="For VAE Decode, VAE Decode (Tiled) and VAE Encode.")],
        )

    @classmethod
    def validate_inputs(cls, vae_name):
        return True if folder_paths.get_full_path("vae", vae_name) else _missing("vae", vae_name)

    @classmethod
    def fingerprint_inputs(cls, vae_name):
        return _stamp(folder_paths.get_full_path("vae", vae_name))

    @classmethod
    def execute(cls, vae_name) -> io.NodeOutput:
        return io.NodeOutput(load_vae(folder_paths.get_full_path_or_raise("vae", vae_name)))


class TextEncoderLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TextEncoderLoader",
            title="Load Lumina-Video Text Encoder (folder)",
            description="Loads Gemma-2-2B from a folder in the transformers layout as a CLIP. With the single file "
            "that Lumina-Image-2.0 uses, take the built-in Load CLIP with type lumina2 instead.",
            aliases=("gemma", "clip"),
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=text_encoder_folders(),
                    tooltip="A folder in models/text_encoders with config.json, tokenizer files and .safetensors.",
                ),
            ],
            outputs=[io.Clip.Output(tooltip="For Lumina-Video Text Encode.")],
        )

    @classmethod
    def validate_inputs(cls, folder):
        return True if folder in text_encoder_folders() else _missing("text_encoders", folder)

    @classmethod
    def execute(cls, folder) -> io.NodeOutput:
        return io.NodeOutput(load_clip(folder))
