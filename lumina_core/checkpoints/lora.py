"""LoRA files: low-rank additions to a network's linear layers, in the keys that ComfyUI's own LoRA loader takes.

A layer ``layers.0.attention.wq`` has ``diffusion_model.layers.0.attention.wq.lora_A.weight`` (rank, in),
``.lora_B.weight`` (out, rank) and ``.alpha``, a number (absent: the rank); its weight grows by
``strength * alpha / rank * B A``.
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

PREFIX = "diffusion_model."
DOWN, UP, ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"


@dataclass(frozen=True)
class LoraChoice:
    """A LoRA file and how strongly it counts; 0 changes nothing, negative turns it round."""

    path: Path
    strength: float = 1.0


def check_lora(config: VideoConfig, lora: LoraChoice) -> None:
    """Raise LuminaError unless the file fits a network of ``config``; reads no more than its header."""
    with torch.device("meta"):
        network = MultiScaleNextDiT(config)
    _additions(_read(lora, header_only=True), lora.path.name, network)


@torch.no_grad()
def apply_lora(model: MultiScaleNextDiT, path: str | Path, strength: float = 1.0) -> None:
    """Add a LoRA file to the network's weights. Raises LuminaError, and then changes nothing, unless all keys fit."""
    lora = LoraChoice(Path(path), strength)
    weights = _read(lora)
    check_finite(lora.path.name, weights)
    additions = _additions(weights, lora.path.name, model)
    if strength == 0:
        return
    for layer, parts in additions.items():
        weight = model.get_parameter(f"{layer}.weight")
        down, up = (parts[part].to(weight.device, torch.float32) for part in (DOWN, UP))
        rank = len(down)
        scale = strength * float(parts.get(ALPHA, rank)) / rank
        weight.copy_(weight.float() + scale * (up @ down))


def _read(lora: LoraChoice, header_only: bool = False) -> Weights:
    if not math.isfinite(lora.strength):
        raise LuminaError(f"The strength of LoRA '{lora.path}' is {lora.strength}; write a number such as 1 or 0.5.")
    if not lora.path.is_file():
        raise LuminaError(f"LoRA '{lora.path}' does not exist; give the path of a .safetensors file.")
    return read_safetensors(lora.path, header_only)[0]


def _additions(weights: Weights, name: str, network: MultiScaleNextDiT) -> dict[str, Weights]:
    """The parts of each layer's addition. Raises LuminaError unless each is whole and fits a layer of ``network``."""
    matrices = {key.removesuffix(".weight"): p.shape for key, p in network.named_parameters() if p.ndim == 2}
    additions: dict[str, Weights] = defaultdict(dict)
    for key, value in weights.items():
        part = next((part for part in (DOWN, UP, ALPHA) if key.endswith(part)), "")
        layer = key.removeprefix(PREFIX).removesuffix(part)
        if not part or layer not in matrices or not key.startswith(PREFIX):
            raise LuminaError(
                f"{name} is no LoRA for this checkpoint, which has no place for its key '{key}'; use one that was "
                "trained on a Lumina-Video network of the same sizes."
            )
        additions[layer][part] = value
    if not additions:
        raise LuminaError(f"{name} holds no weights; use a LoRA that was trained on this checkpoint.")
    for layer, parts in additions.items():
        _check_addition(name, layer, parts, matrices[layer])
    return dict(additions)


def _check_addition(name: str, layer: str, parts: Weights, shape: torch.Size) -> None:
    if DOWN not in parts or UP not in parts:
        lacking = next(part for part in (DOWN, UP) if part not in parts)
        raise LuminaError(f"{name} lacks '{PREFIX}{layer}{lacking}'; use a whole, unmodified LoRA file.")
    down, up = parts[DOWN].shape, parts[UP].shape
    fits = len(down) == len(up) == 2 and down[0] == up[1] > 0 and (up[0], down[1]) == tuple(shape)
    if not fits or (ALPHA in parts and parts[ALPHA].numel() != 1):
        raise LuminaError(
            f"{name} is no LoRA for this checkpoint: its '{layer}' is {tuple(up)} times {tuple(down)}, and the weight "
            f"there {tuple(shape)}; use one that was trained on a network of the same sizes."
        )
