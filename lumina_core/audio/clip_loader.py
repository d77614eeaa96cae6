"""Loads CLIP from a transformers folder, or DFN5B from a single open_clip file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..runtime.tensor_files import Weights, check_finite, check_fit, read_pth, read_safetensors
from .clip import ClipFeatures

_HF_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_TOKENIZERS = ("tokenizer.json", "vocab.json")
_FIX = "give a CLIP folder in the transformers layout, or the single file of DFN5B-CLIP-ViT-H-14"
# open_clip files state neither sizes nor the activation, so this is the only model that is loaded from one.
DFN5B: dict[str, Any] = {
    "projection_dim": 1024,
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 378,
        "patch_size": 14,
        "hidden_act": "quick_gelu",
        "projection_dim": 1024,
    },
    "text_config": {
        "vocab_size": 49408,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "projection_dim": 1024,
    },
}
# open_clip names outside the blocks, and the transformers names.
_OUTSIDE_BLOCKS = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
}
# open_clip stores these as (in, out) matrices.
_TRANSPOSED = ("text_projection", "visual.proj")
# open_clip names within a block, and the transformers names.
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")


def load_clip(
    path: str | Path, device: torch.device | str = "cpu", tokenizer: str | Path | None = None
) -> ClipFeatures:
    """Load CLIP in float32 from local files.

    Args:
        path: a transformers folder, or a single open_clip file of DFN5B.
        device: where the weights go.
        tokenizer: folder of CLIP's tokenizer; by default the folder of the weights.

    Raises:
        LuminaError: a file is missing, damaged or of another model.
    """
    path = Path(path)
    if not path.exists():
        raise LuminaError(f"CLIP '{path}' does not exist; {_FIX}.", field="clip", kind="missing")
    folder = path if path.is_dir() else path.parent
    settings, weights, name = _transformers(path) if _is_transformers(path) else _open_clip(path)
    model = _build(settings, weights, name)
    features = ClipFeatures(model, _tokenizer(Path(tokenizer) if tokenizer else folder))
    return features.eval().requires_grad_(False).to(device)


def from_open_clip(weights: Weights) -> Weights:
    """Convert open_clip weights to the names and layouts of transformers; unknown names are kept."""
    found: Weights = {}
    for key, value in weights.items():
        found.update(_renamed(key, value))
    return found


def _renamed(key: str, value: torch.Tensor) -> Weights:
    block = _BLOCK.fullmatch(key)
    if block:
        tower = "vision_model" if block[1] else "text_model"
        layer, rest = f"{tower}.encoder.layers.{block[2]}", block[3]
        if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
            kind = rest.rpartition("_")[2]
            return {f"{layer}.self_attn.{q}_proj.{kind}": part for q, part in zip("qkv", value.chunk(3), strict=True)}
        part, _, kind = rest.rpartition(".")
        return {f"{layer}.{_IN_BLOCK[part]}.{kind}" if part in _IN_BLOCK else key: value}
    if key in _TRANSPOSED:
        value = value.T.contiguous()
    part, _, kind = key.rpartition(".")
    return {_OUTSIDE_BLOCKS.get(key) or (f"{_OUTSIDE_BLOCKS[part]}.{kind}" if part in _OUTSIDE_BLOCKS else key): value}


def _is_transformers(path: Path) -> bool:
    return path.is_dir() and (path / "config.json").is_file()


def _transformers(folder: Path) -> tuple[dict, Weights, str]:
    file = next((folder / name for name in _HF_WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise LuminaError(
            f"CLIP folder '{folder}' has no {_HF_WEIGHTS[0]} (or .bin); download the weights into it.",
            field="clip",
            kind="missing",
        )
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = settings.get("model_type")
    except (ValueError, AttributeError, OSError) as error:
        raise LuminaError(
            f"{folder / 'config.json'} is not readable JSON; download the file again.", field="clip", kind="file"
        ) from error
    if kind != "clip":
        raise LuminaError(
            f"'{folder}' contains a model of type {kind!r}, expected 'clip'; {_FIX}.", field="clip", kind="mismatch"
        )
    # Older files contain the position indices as if they were weights.
    weights = {key: value for key, value in _read(file).items() if not key.endswith(".position_ids")}
    return settings, weights, file.name


def _open_clip(path: Path) -> tuple[dict, Weights, str]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
        if len(files) != 1:
            raise LuminaError(
                f"CLIP folder '{path}' has no config.json and {len(files)} weight files; {_FIX}.",
                field="clip",
                kind="missing",
            )
        path = files[0]
    if path.suffix not in _SUFFIXES:
        raise LuminaError(f"'{path.name}' is not a CLIP file; {_FIX}.", field="clip", kind="file")
    return DFN5B, from_open_clip(_read(path)), path.name


def _read(file: Path) -> Weights:
    return read_safetensors(file)[0] if file.suffix == ".safetensors" else read_pth(file)


def _build(settings: dict, weights: Weights, name: str) -> Any:
    from transformers import CLIPConfig, CLIPModel

    try:
        config: Any = CLIPConfig.from_dict(settings)
        with torch.device("meta"):
            model: Any = CLIPModel(config)
    except Exception as error:  # transformers raises almost any exception on a damaged config
        raise LuminaError(
            f"The config.json next to {name} does not describe a CLIP ({_first_line(error)}); download it again.",
            field="clip",
            kind="file",
        ) from None
    vision = config.vision_config
    check_fit(name, weights, model, f"a CLIP of width {vision.hidden_size} and {vision.num_hidden_layers} layers")
    check_finite(name, weights)
    weights = {key: value.to(torch.float32) for key, value in weights.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    for part in (model.text_model.embeddings, model.vision_model.embeddings):
        # The only buffer that is not in the file.
        part.position_ids = torch.arange(part.position_ids.shape[1])[None]
    return model


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise LuminaError(
            f"'{folder}' has no tokenizer ({' or '.join(_TOKENIZERS)}); put CLIP's tokenizer files into it.",
            field="clip",
            kind="missing",
        )
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # also on a damaged tokenizer
        raise LuminaError(
            f"The tokenizer in '{folder}' cannot be read ({_first_line(error)}); download the folder again.",
            field="clip",
            kind="file",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:120] or type(error).__name__
