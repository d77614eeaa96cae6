"""Saving the latents of a call, so that a later run can refine a draft."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import LuminaError
from ..media.writer import check_target
from ..runtime.atomic import atomic_write
from ..runtime.tensor_files import read_safetensors

# Suffix of a latents file.
SUFFIX = ".safetensors"
# Name of the tensor, and of the metadata entry with the step and the seeds.
_TENSOR, _ENTRY = "latents", "lumina_video_latents"


@dataclass(frozen=True)
class SavedLatents:
    """Latents of B clips.

    Args:
        latents: the state at step ``step``, (B, C, f, h, w).
        step: the step of the plan at which a later run starts.
        seeds: one for each clip.
    """

    latents: torch.Tensor
    step: int
    seeds: tuple[int, ...]


def save_latents(path: str | Path, saved: SavedLatents) -> Path:
    """Write latents to a .safetensors file; an existing file is replaced.

    Raises:
        LuminaError: the folder does not exist or is not writable, or the suffix is not .safetensors.
    """
    from safetensors.torch import save_file

    target = check_target(path, SUFFIX)
    entry = {"step": saved.step, "seeds": list(saved.seeds)}
    with atomic_write(target) as part:
        save_file({_TENSOR: saved.latents.cpu().contiguous()}, part, {_ENTRY: json.dumps(entry)})
    return target


def load_latents(path: str | Path) -> SavedLatents:
    """Read latents that ``save_latents`` wrote.

    Raises:
        LuminaError: the file does not exist, or has other contents.
    """
    source = Path(path)
    if not source.is_file():
        raise LuminaError(
            f"The latents file {source} does not exist; give one that --save-latents or save_latents wrote.",
            field="latents",
            kind="missing",
        )
    tensors, metadata = read_safetensors(source)
    try:
        entry = json.loads(metadata[_ENTRY])
        saved = SavedLatents(tensors[_TENSOR], int(entry["step"]), tuple(int(seed) for seed in entry["seeds"]))
    except (KeyError, TypeError, ValueError):
        saved = None
    if saved is None or saved.latents.ndim != 5 or len(saved.seeds) != len(saved.latents) or saved.step < 0:
        raise LuminaError(
            f"{source} does not contain latents of a video; give a file that --save-latents or save_latents wrote.",
            field="latents",
            kind="file",
        )
    return saved
