"""Checkpoint files to networks: key cleaning, sizes from shapes, strict loading with a readable report."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..network.config import VideoConfig
from ..network.ops import ops_for
from ..network.video import MultiScaleNextDiT
from ..runtime.tensor_files import Weights, check_finite, check_fit, read_pth, read_safetensors
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize
from .detect import VIDEO, refuse_other_kinds
from .model_args import read_model_args

RELEASED_NAMES = ("consolidated.00-of-01.safetensors", "consolidated.00-of-01.pth")
ARGS_NAME = "model_args.pth"
METADATA_KEY = "lumina_video"
"""Safetensors metadata entry: a JSON object with any of ``SETTINGS``, ``LATENT_RGB`` and ``TRAIN_SIZE``."""
SETTINGS = ("rope_theta", "t_scale", "motion_scale")
"""What shapes cannot tell; the defaults of ``VideoConfig`` are the released values."""
LATENT_RGB = "latent_rgb"
"""For previews: a list with red, green and blue of each latent channel."""
TRAIN_SIZE = "train_size"
"""Latent frames, height and width of the largest clips that the weights were trained on, as a list."""
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_PATCH_KEY = re.compile(r"all_x_embedder\.(\d+-\d+)\.weight")


@dataclass(frozen=True)
class Checkpoint:
    """Weights by published name, and what the file says beside them."""

    path: Path
    weights: Weights
    settings: dict[str, Any]


def load_video_model(
    path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> MultiScaleNextDiT:
    """Load a Multi-scale Next-DiT from a folder in the released layout, or from one .safetensors or .pth file.

    Returns the network in eval mode on ``device`` in ``dtype``. Raises LuminaError.

    Examples:
        >>> from lumina_core.pipelines.bundle import find_bundle
        >>> model = load_video_model(find_bundle("mini").checkpoint)
        >>> [str(patch) for patch in model.config.patches]
        ['1x2', '2x2', '2x4']
    """
    checkpoint = read_checkpoint(path)
    config = detect_config(checkpoint)
    with torch.device("meta"):
        model = MultiScaleNextDiT(config, ops_for(device))
    weights = {key: value.to(device, dtype) for key, value in checkpoint.weights.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read weights and settings; a ``model_args.pth`` beside the weights is read too. Raises LuminaError."""
    file = find_weights(path)
    weights, metadata = read_file(file)
    weights = clean_keys(weights)
    check_finite(file.name, weights)
    return Checkpoint(file, weights, read_settings(file, metadata))


def read_video_config(path: str | Path) -> VideoConfig:
    """What ``load_video_model(path)`` would build, every key and shape checked, in the time of reading a header.

    A .pth file has no header and is read whole. Raises LuminaError.
    """
    file = find_weights(path)
    if file.suffix != ".safetensors":
        return detect_config(read_checkpoint(file))
    weights, metadata = read_safetensors(file, header_only=True)
    return detect_config(Checkpoint(file, clean_keys(weights), read_settings(file, metadata)))


def read_file(file: Path) -> tuple[Weights, dict[str, str]]:
    """Tensors by name, and the metadata where the file has any. Raises LuminaError."""
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    if file.suffix in (".pth", ".pt"):
        return read_pth(file), {}
    raise LuminaError(f"'{file.name}' is not a checkpoint; expected a .safetensors or .pth file.")


def find_weights(path: str | Path) -> Path:
    """The weights file that ``path`` (a file, or a folder in the released layout) means."""
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise LuminaError(f"Checkpoint '{path}' does not exist; give a released folder, or a .safetensors file.")
    for name in RELEASED_NAMES:
        if (path / name).is_file():
            return path / name
    raise LuminaError(f"Folder '{path}' holds no {RELEASED_NAMES[0]} (or .pth); give the folder of the released files.")


def clean_keys(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Drop what torch.compile and other tools put into key names."""
    cleaned = {}
    for key, value in weights.items():
        key = key.replace("_orig_mod.", "")
        for prefix in _PREFIXES:
            key = key.removeprefix(prefix)
        cleaned[key] = value
    return cleaned


def read_settings(file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What ``METADATA_KEY`` may hold, from the file's metadata, else from a model_args.pth beside it, else nothing."""
    fields: Mapping = {}
    if METADATA_KEY in metadata:
        try:
            fields = dict(json.loads(metadata[METADATA_KEY]))
        except (TypeError, ValueError):
            raise LuminaError(
                f"{file.name} has metadata '{METADATA_KEY}' that is not a JSON object; save the file again."
            ) from None
    elif (file.parent / ARGS_NAME).is_file():
        fields = read_model_args(file.parent / ARGS_NAME)
    numbers = {name: fields[name] for name in SETTINGS if name in fields}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            raise LuminaError(f"The settings of {file.name} give {name} = {value!r}; expected a number above 0.")
    settings: dict[str, Any] = {name: float(value) for name, value in numbers.items()}
    for name, read in ((LATENT_RGB, _latent_rgb), (TRAIN_SIZE, _train_size)):
        if fields.get(name) is not None:
            settings[name] = read(file, fields)
    return settings


def video_metadata(config: VideoConfig) -> dict[str, str]:
    """The header entry of a checkpoint of this configuration, as ``read_settings`` reads it."""
    settings: dict[str, Any] = {name: getattr(config, name) for name in SETTINGS}
    if config.latent_rgb is not None:
        settings[LATENT_RGB] = config.latent_rgb
    if config.train_size is not None:
        settings[TRAIN_SIZE] = astuple(config.train_size)
    return {METADATA_KEY: json.dumps(settings)}


def _latent_rgb(file: Path, fields: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    try:
        rows = tuple(tuple(float(value) for value in row) for row in fields[LATENT_RGB])
    except (TypeError, ValueError):
        rows = ()
    if not rows or any(len(row) != 3 or not all(map(math.isfinite, row)) for row in rows):
        raise LuminaError(
            f"The settings of {file.name} give a {LATENT_RGB} that is not a list of rows of three numbers; write red, "
            "green and blue of each latent channel, or leave it out."
        )
    return rows


def _train_size(file: Path, fields: Mapping[str, Any]) -> LatentSize:
    found = fields[TRAIN_SIZE]
    # A bool is no number here, and is an int for Python.
    if not isinstance(found, (list, tuple)) or len(found) != 3 or any(type(n) is not int or n < 1 for n in found):
        raise LuminaError(
            f"The settings of {file.name} give {TRAIN_SIZE} = {found!r}; expected three whole numbers above 0: latent "
            "frames, height and width of the largest clips that it was trained on."
        )
    return LatentSize(*found)


def detect_config(checkpoint: Checkpoint) -> VideoConfig:
    """Sizes from the weights' shapes, the rest from the settings; checks every key and shape. Raises LuminaError."""
    weights, name = checkpoint.weights, checkpoint.path.name
    refuse_other_kinds(name, weights, VIDEO)
    try:
        config = _config_from_shapes(weights, checkpoint.settings)
    except LuminaError as error:
        raise LuminaError(f"{name} is not a Lumina-Video checkpoint: {error}") from None
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        fault = f"{error.args[0]} is missing" if isinstance(error, KeyError) else "its shapes make no network"
        raise LuminaError(
            f"{name} is not a Lumina-Video checkpoint: {fault}; "
            "expected keys such as all_x_embedder.2-1.weight and layers.0.attention.wq.weight."
        ) from None
    with torch.device("meta"):
        network = MultiScaleNextDiT(config)
    what = f"a Lumina-Video network of width {config.dim} and {config.layers} layers"
    check_fit(name, weights, network, what)
    return config


def _config_from_shapes(weights: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> VideoConfig:
    keys = [m[1] for m in map(_PATCH_KEY.fullmatch, weights) if m]
    if not keys:
        raise KeyError("all_x_embedder")
    patches = tuple(sorted((PatchSize.from_key(k) for k in keys), key=lambda p: p.frames * p.space**2))
    first = patches[0]
    dim, numbers = weights[f"all_x_embedder.{first.key}.weight"].shape
    channels = numbers // (first.frames * first.space**2)
    return VideoConfig(patches=patches, channels=channels, **layer_sizes(weights, dim), **settings)


def layer_sizes(weights: Mapping[str, torch.Tensor], dim: int) -> dict[str, Any]:
    """Fields of the config that the layers of a network ``dim`` wide tell by their shapes. Raises KeyError."""
    heads = weights["layers.0.attention.gate"].shape[0]
    kv_dim, text_dim = weights["layers.0.attention.wk_y.weight"].shape
    return {
        "dim": dim,
        "layers": len({k.split(".")[1] for k in weights if k.startswith("layers.")}),
        "heads": heads,
        "kv_heads": kv_dim // (dim // heads),
        "ffn_hidden": weights["layers.0.feed_forward.w1.weight"].shape[0],
        "text_dim": text_dim,
        "cond_dim": weights["t_embedder.mlp.2.weight"].shape[0],
        "qk_norm": "layers.0.attention.q_norm.weight" in weights,
    }
