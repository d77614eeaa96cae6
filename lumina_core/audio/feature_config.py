"""Feature widths of a folder of encoders, read without loading the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import LuminaError
from ..runtime.dataclass_schema import build
from ..runtime.tensor_files import read_safetensors
from .clip_loader import DFN5B
from .synchformer import SyncConfig
from .synchformer_loader import SYNC_KEY, find_sync_weights

# Subfolders of a folder of encoders.
CLIP, SYNC = "clip", "sync"


def read_feature_widths(folder: str | Path) -> tuple[int, int, int]:
    """Widths of the visual, sync and text features of the encoders in a folder.

    Raises LuminaError if an encoder is missing or its config is damaged.
    """
    folder = Path(folder)
    check_feature_folder(folder)
    visual, text = _clip_widths(folder / CLIP)
    return visual, _sync_width(folder / SYNC), text


def check_feature_folder(folder: Path) -> None:
    """Raise LuminaError unless a folder has the subfolders clip/ and sync/."""
    missing = [name for name in (CLIP, SYNC) if not (folder / name).is_dir()]
    if missing:
        found = "does not exist" if not folder.is_dir() else f"has no folder {' or '.join(missing)}"
        raise LuminaError(
            f"The audio feature folder '{folder}' {found}; it needs {CLIP}/ with a CLIP and {SYNC}/ with a "
            "Synchformer.",
            field="features",
            kind="missing",
        )


def _clip_widths(folder: Path) -> tuple[int, int]:
    """Widths for frames and for texts. A folder without config.json has an open_clip file, which can only be DFN5B."""
    file = folder / "config.json"
    if not file.is_file():
        return DFN5B["projection_dim"], DFN5B["text_config"]["hidden_size"]
    from transformers import CLIPConfig

    try:
        config: Any = CLIPConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
        return config.projection_dim, config.text_config.hidden_size
    except Exception as error:  # transformers raises almost any exception on a damaged config
        raise LuminaError(f"{file} does not describe a CLIP; download it again.", field="clip", kind="file") from error


def _sync_width(folder: Path) -> int:
    """Width in the header of this project's files; released files have none and are all of one size."""
    file = find_sync_weights(folder)
    stated = read_safetensors(file, header_only=True)[1].get(SYNC_KEY) if file.suffix == ".safetensors" else None
    if stated is None:
        return SyncConfig().width
    try:
        values = json.loads(stated)
    except ValueError:
        raise LuminaError(
            f"The header of {file.name} is damaged ('{SYNC_KEY}'); download it again.", field="sync", kind="file"
        ) from None
    return build(SyncConfig, values, f"The header of {file.name}").width
