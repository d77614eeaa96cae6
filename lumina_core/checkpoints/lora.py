"""Applies LoRA files, low-rank updates of a network's linear layers, with the key names of ComfyUI's LoRA loader.

A layer ``layers.0.attention.wq`` has ``diffusion_model.layers.0.attention.wq.lora_A.weight`` (rank, in),
``.lora_B.weight`` (out, rank) and ``.alpha``, a number that defaults to the rank. ``strength * alpha / rank * B A`` is
added to its weight.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import LuminaError
from ..network.config import VideoConfig
from ..network.video import MultiScaleNextDiT
from ..runtime.tensor_files import Weights, check_finite, read_safetensors

# Parts of a key.
PREFIX = "diffusion_model."
DOWN, UP, ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"


@dataclass(frozen=True)
class LoraChoice:
    """A LoRA file and its strength.

    Args:
        path: of the .safetensors file.
        strength: factor on the update; 0 changes nothing, and a negative one subtracts the update.
    """

    path: Path
    strength: float = 1.0


def check_lora(config: VideoConfig, lora: LoraChoice) -> None:
    """Raise LuminaError unless the file fits a network of ``config``. Reads the header alone."""
    with torch.device("meta"):
        network = MultiScaleNextDiT(config)
    _updates(_read(lora, header_only=True), lora.path.name, network)


@torch.no_grad()
def apply_lora(model: MultiScaleNextDiT, path: str | Path, strength: float = 1.0) -> None:
    """Add the update of a LoRA file to the network's weights.

    Args:
        model: changed in place.
        path: of the .safetensors file.
        strength: factor on the update.

    Raises:
        LuminaError: the file is missing, damaged or does not fit; the network is then unchanged.
    """
    lora = LoraChoice(Path(path), strength)
    weights = _read(lora)
    check_finite(lora.path.name, weights)
    updates = _updates(weights, lora.path.name, model)
    if strength == 0:
        return
    for layer, parts in updates.items():
        weight = model.get_parameter(f"{layer}.weight")
        down, up = (parts[part].to(weight.device, torch.float32) for part in (DOWN, UP))
        rank = len(down)
        scale = strength * float(parts.get(ALPHA, rank)) / rank
        weight.copy_(weight.float() + scale * (up @ down))


def _read(lora: LoraChoice, header_only: bool = False) -> Weights:
    if not math.isfinite(lora.strength):
        raise LuminaError(
            f"The strength of LoRA '{lora.path}' is {lora.strength}; write a number such as 1 or 0.5.",
            field="lora",
            kind="value",
        )
    if not lora.path.is_file():
        raise LuminaError(
            f"LoRA '{lora.path}' does not exist; give the path of a .safetensors file.", field="lora", kind="missing"
        )
    return read_safetensors(lora.path, header_only)[0]


def _updates(weights: Weights, name: str, network: MultiScaleNextDiT) -> dict[str, Weights]:
    """The tensors of each layer's update. Raises LuminaError unless each is complete and fits its layer."""
    matrices = {key.removesuffix(".weight"): p.shape for key, p in network.named_parameters() if p.ndim == 2}
    updates: dict[str, Weights] = defaultdict(dict)
    for key, value in weights.items():
        part = next((part for part in (DOWN, UP, ALPHA) if key.endswith(part)), "")
        layer = key.removeprefix(PREFIX).removesuffix(part)
        if not part or layer not in matrices or not key.startswith(PREFIX):
            raise LuminaError(
                f"{name} is not a LoRA for this checkpoint, which has no layer for its key '{key}'; use one that was "
                "trained on a Lumina-Video network of the same sizes.",
                field="lora",
                kind="mismatch",
            )
        updates[layer][part] = value
    if not updates:
        raise LuminaError(
            f"{name} holds no weights; use a LoRA that was trained on this checkpoint.", field="lora", kind="file"
        )
    for layer, parts in updates.items():
        _check_update(name, layer, parts, matrices[layer])
    return dict(updates)


def _check_update(name: str, layer: str, parts: Weights, shape: torch.Size) -> None:
    if DOWN not in parts or UP not in parts:
        lacking = next(part for part in (DOWN, UP) if part not in parts)
        raise LuminaError(
            f"{name} lacks '{PREFIX}{layer}{lacking}'; use a complete, unmodified LoRA file.", field="lora", kind="file"
        )
    down, up = parts[DOWN].shape, parts[UP].shape
    fits = len(down) == len(up) == 2 and down[0] == up[1] > 0 and (up[0], down[1]) == tuple(shape)
    if not fits or (ALPHA in parts and parts[ALPHA].numel() != 1):
        raise LuminaError(
            f"{name} is not a LoRA for this checkpoint: its '{layer}' is {tuple(up)} times {tuple(down)}, and the "
            f"layer's weight is {tuple(shape)}; use one that was trained on a network of the same sizes.",
            field="lora",
            kind="mismatch",
        )
