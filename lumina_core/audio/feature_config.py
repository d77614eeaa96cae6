"""How wide the features of a folder's encoders are, without reading their weights."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import LuminaError
from ..runtime.dataclass_schema import build
from ..runtime.tensor_files import read_safetensors
from .clip_loader import DFN5B
from .synchformer import SyncConfig
from .synchformer_loader import METADATA_KEY, find_sync_weights

CLIP, SYNC = "clip", "sync"
"""Subfolders of a folder of encoders."""


def read_feature_widths(folder: str | Path) -> tuple[int, int, int]:
    """Widths of the visual, sync and text features that the encoders of a folder make. Raises LuminaError."""
    folder = Path(folder)
    check_feature_folder(folder)
    visual, text = _clip_widths(folder / CLIP)
    return visual, _sync_width(folder / SYNC), text


def check_feature_folder(folder: Path) -> None:
    """Raise LuminaError unless a folder holds clip/ and sync/."""
    missing = [name for name in (CLIP, SYNC) if not (folder / name).is_dir()]
    if missing:
        found = "does not exist" if not folder.is_dir() else f"holds no folder {' or '.join(missing)}"
        raise LuminaError(
            f"The folder of sound features '{folder}' {found}; it needs {CLIP}/ with a CLIP and {SYNC}/ with a "
            "Synchformer."
        )


def _clip_widths(folder: Path) -> tuple[int, int]:
    """Of frames and of texts. A folder without config.json holds one file of open_clip, which only DFN5B comes in."""
    file = folder / "config.json"
    if not file.is_file():
        return DFN5B["projection_dim"], DFN5B["text_config"]["hidden_size"]
    from transformers import CLIPConfig

    try:
        config = CLIPConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
        return config.projection_dim, config.text_config.hidden_size
    except Exception as error:  # transformers raises nearly anything on a damaged config
        raise LuminaError(f"{file} describes no CLIP; fetch it again.") from error


def _sync_width(folder: Path) -> int:
    """Released files are all of one size; ours state theirs."""
    file = find_sync_weights(folder)
    stated = read_safetensors(file, header_only=True)[1].get(METADATA_KEY) if file.suffix == ".safetensors" else None
    if stated is None:
        return SyncConfig().width
    try:
        values = json.loads(stated)
    except ValueError:
        raise LuminaError(f"The header of {file.name} is damaged ('{METADATA_KEY}'); fetch a fresh copy.") from None
    return build(SyncConfig, values, f"The header of {file.name}").width
