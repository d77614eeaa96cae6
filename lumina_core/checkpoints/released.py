"""The files that the models need: names, sizes, folders of ComfyUI and where they are published.

The one table of links: README's section is written from it (``scripts/build_model_files.py``), the shipped workflows
take their download links from it, and tests compare every link in the docs and help pages with it.
"""

from __future__ import annotations

from dataclasses import dataclass

_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class ReleasedFile:
    """A published file, or a folder of files.

    Args:
        name: under which ComfyUI's lists show it; the link ends in it, because a browser saves it under that name.
        size: for people, with the dtype of the values.
        folder: of ComfyUI, below models.
        repository: on the hub, ``owner/name``.
        place: folder in the repository, empty for its top.
        note: further words for the table in README.
    """

    name: str
    size: str
    folder: str
    repository: str
    place: str = ""
    note: str = ""

    @property
    def page(self) -> str:
        """The repository's page."""
        return f"{_HUB}/{self.repository}"

    @property
    def link(self) -> str:
        """The download link of the file."""
        return f"{self.page}/resolve/main/{self.place + '/' if self.place else ''}{self.name}"


# What Lumina-Video needs. The listing of its repository has these two files and no .safetensors.
CHECKPOINT = ReleasedFile(
    "consolidated.00-of-01.pth", "7.09 GB (fp32)", "diffusion_models", "Alpha-VLLM/Lumina-Video-f24R960"
)
SETTINGS_FILE = ReleasedFile(
    "model_args.pth",
    "a few kB",
    "diffusion_models",
    "Alpha-VLLM/Lumina-Video-f24R960",
    note="optional: settings, next to the weights",
)
TEXT_ENCODER = ReleasedFile(
    "gemma_2_2b_fp16.safetensors",
    "5.2 GB (fp16)",
    "text_encoders",
    "Comfy-Org/Lumina_Image_2.0_Repackaged",
    "split_files/text_encoders",
)
VAE = ReleasedFile("diffusion_pytorch_model.safetensors", "0.4 GB (fp16)", "vae", "THUDM/CogVideoX-2b", "vae")
VIDEO_FILES = (CHECKPOINT, SETTINGS_FILE, TEXT_ENCODER, VAE)

# What Lumina-Next needs. The EMA weights, because the others have the same file name as those of Lumina-Video.
IMAGE_CHECKPOINT = ReleasedFile(
    "consolidated_ema.00-of-01.safetensors",
    "6.5 GB (fp32)",
    "diffusion_models",
    "Alpha-VLLM/Lumina-Next-SFT",
    note="or that of Lumina-Next-T2I, or `transformer` of Lumina-Next-SFT-diffusers",
)
# A folder: pages list missing files only.
IMAGE_TEXT_ENCODER = ReleasedFile(
    "gemma-2b",
    "5.0 GB (bf16)",
    "text_encoders",
    "google/gemma-2b",
    note="config, tokenizer and weights, after accepting its terms; ComfyUI does not list a missing folder",
)
IMAGE_VAE = ReleasedFile("sdxl_vae.safetensors", "0.3 GB (fp32)", "vae", "stabilityai/sdxl-vae")
IMAGE_FILES = (IMAGE_CHECKPOINT, IMAGE_TEXT_ENCODER, IMAGE_VAE)

# Files that a page can download; the others are folders or optional.
DOWNLOADS = (CHECKPOINT, TEXT_ENCODER, VAE, IMAGE_CHECKPOINT, IMAGE_VAE)
# Size of what ``lumina-video convert`` makes of the checkpoint.
CONVERTED_SIZE = "3.5 GB (bf16)"
