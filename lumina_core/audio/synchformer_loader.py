"""Loads and saves Synchformer's visual encoder: the released layouts, and this project's, which stores its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..runtime.atomic import atomic_write
from ..runtime.dataclass_schema import build
from ..runtime.tensor_files import Weights, check_finite, check_fit, read_safetensors, unreadable
from .synchformer import SyncConfig, SyncEncoder

# Safetensors metadata entry of this project's files: a JSON object with the fields of SyncConfig.
SYNC_KEY = "lumina_sync"
WEIGHTS = "model.safetensors"  # file name in a folder
# Key prefixes of the visual encoder in a complete Synchformer, and in the first stage of its training.
_PREFIXES = ("vfeat_extractor.", "module.v_encoder.", "v_encoder.")
# Entries of the released training states that contain the weights.
_NESTED = ("model", "state_dict")
# Unused layers of the classifier that the first stage started from.
_IGNORED = ("pre_logits.", "head.", "head_drop.")
_SUFFIXES = (".safetensors", ".pth", ".pt")
_FIX = "give a released Synchformer (such as synchformer_state_dict.pth) or the folder of a sync encoder"


def load_sync_encoder(path: str | Path, device: torch.device | str = "cpu") -> SyncEncoder:
    """Load the encoder in float32 and eval mode from a .safetensors, .pth or .pt file, or a folder with one.

    Only the visual encoder of a complete Synchformer is loaded. Raises LuminaError for a file that is missing, damaged
    or of another model.
    """
    file = find_sync_weights(path)
    config, weights = _read(file)
    with torch.device("meta"):
        encoder = SyncEncoder(config)
    check_fit(file.name, weights, encoder, f"Synchformer's visual encoder of width {config.width}")
    check_finite(file.name, weights)
    weights = {key: value.to(device, torch.float32) for key, value in weights.items()}
    encoder.load_state_dict(weights, strict=True, assign=True)
    return encoder.eval().requires_grad_(False)


def save_sync_encoder(encoder: SyncEncoder, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and config atomically to a .safetensors file that ``load_sync_encoder`` reads."""
    from safetensors.torch import save_file

    weights = {key: value.detach().to("cpu", dtype).contiguous() for key, value in encoder.state_dict().items()}
    with atomic_write(path) as part:
        save_file(weights, part, metadata={SYNC_KEY: json.dumps(asdict(encoder.config))})


def find_sync_weights(path: str | Path) -> Path:
    """The weights file at ``path``, a file or a folder with one. Raises LuminaError unless there is exactly one."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
        named = [file for file in files if file.name == WEIGHTS] or files
        if len(named) != 1:
            raise LuminaError(
                f"Folder '{path}' has {len(files)} weight files and no {WEIGHTS}; {_FIX}.", field="sync", kind="missing"
            )
        return named[0]
    if not path.is_file():
        raise LuminaError(f"Sync encoder '{path}' does not exist; {_FIX}.", field="sync", kind="missing")
    if path.suffix not in _SUFFIXES:
        raise LuminaError(
            f"'{path.name}' is not a sync encoder; expected a {', '.join(_SUFFIXES)} file.", field="sync", kind="file"
        )
    return path


def _read(file: Path) -> tuple[SyncConfig, Weights]:
    """The config and the weights of the visual encoder, without prefix."""
    if file.suffix == ".safetensors":
        weights, metadata = read_safetensors(file)
        if SYNC_KEY in metadata:
            return _config(file, metadata[SYNC_KEY]), weights
    else:
        weights = _read_pickle(file)
    for prefix in _PREFIXES:
        found = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        if found:
            return SyncConfig(), {key: value for key, value in found.items() if not key.startswith(_IGNORED)}
    raise LuminaError(
        f"{file.name} does not contain Synchformer's visual encoder (no key starts with {_PREFIXES[0]}); {_FIX}.",
        field="sync",
        kind="mismatch",
    )


def _config(file: Path, text: str) -> SyncConfig:
    try:
        values = json.loads(text)
    except ValueError:
        raise LuminaError(
            f"The header of {file.name} is damaged ('{SYNC_KEY}'); download it again.", field="sync", kind="file"
        ) from None
    return build(SyncConfig, values, f"The header of {file.name}")


def _read_pickle(file: Path) -> Weights:
    """Tensors by name, without running code in the file; other entries of a training state are ignored."""
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises almost any exception on a damaged file
        raise unreadable(file.name, error) from None
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise LuminaError(f"{file.name} is not a state dict of tensors; {_FIX}.", field="sync", kind="file")
    return {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
