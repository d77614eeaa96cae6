"""Loads Lumina-Video checkpoints: cleans keys, derives the network's sizes from shapes, loads strictly.

A ``Checkpoint`` is opened once. Its header gives the configuration, which is enough to check and plan a run, and its
weights are read when they are asked for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..network.config import VideoConfig
from ..network.ops import ops_for
from ..network.video import MultiScaleNextDiT
from ..runtime.tensor_files import Weights, check_finite, check_fit, check_unchanged, read_pth, read_safetensors
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize
from .detect import VIDEO, refuse_other_kinds
from .model_args import read_model_args

RELEASED_NAMES = ("consolidated.00-of-01.safetensors", "consolidated.00-of-01.pth")
ARGS_NAME = "model_args.pth"
# Safetensors metadata entry: a JSON object with any of SETTINGS, LATENT_RGB and TRAIN_SIZE.
VIDEO_METADATA_KEY = "lumina_video"
# What shapes cannot tell. The defaults of VideoConfig are the released values.
SETTINGS = ("rope_theta", "t_scale", "motion_scale")
# For previews: a list with red, green and blue of each latent channel.
LATENT_RGB = "latent_rgb"
# A list of latent frames, height and width of the largest clips that the weights were trained on.
TRAIN_SIZE = "train_size"
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_PATCH_KEY = re.compile(r"all_x_embedder\.(\d+-\d+)\.weight")


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint file: its configuration, and its weights when they are asked for.

    Args:
        path: of the file.
        tensors: by published name, on the meta device.
        settings: what the file says beyond its tensors; see ``read_settings``.

    Examples:
        >>> from lumina_core.pipelines.bundle import find_bundle
        >>> checkpoint = Checkpoint.open(find_bundle("mini").checkpoint)
        >>> checkpoint.config.layers, len(checkpoint.weights())
        (6, 169)
    """

    path: Path
    tensors: Weights
    settings: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Read the header of a file, or of a folder in the released layout, and a model_args.pth beside it.

        Raises:
            LuminaError: the file is missing or cannot be read.
        """
        file = find_weights(path)
        tensors, metadata = read_file(file, header_only=True)
        return cls(file, clean_keys(tensors), read_settings(file, metadata))

    @cached_property
    def config(self) -> VideoConfig:
        """Sizes by the tensors' shapes, the rest by the settings; every key and shape is checked.

        Raises:
            LuminaError: another kind of checkpoint, or keys and shapes that make no network.
        """
        return _detect_config(self.path.name, self.tensors, self.settings)

    def weights(self) -> Weights:
        """The tensors by published name, on the CPU in the file's dtypes.

        Raises:
            LuminaError: the file cannot be read, holds NaN or infinite values, or has changed since it was opened.
        """
        weights = clean_keys(read_file(self.path)[0])
        check_finite(self.path.name, weights)
        check_unchanged(self.path.name, self.tensors, weights)
        return weights


def load_video_model(
    checkpoint: str | Path | Checkpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    config: VideoConfig | None = None,
) -> MultiScaleNextDiT:
    """Load a Multi-scale Next-DiT.

    Args:
        checkpoint: a folder in the released layout, one .safetensors or .pth file, or an opened checkpoint.
        device: of the network.
        dtype: of its parameters.
        config: of the same sizes, in place of the checkpoint's own; such as one with another ``train_size``.

    Returns:
        The network in eval mode, without gradients.

    Raises:
        LuminaError: see ``Checkpoint``.

    Examples:
        >>> from lumina_core.pipelines.bundle import find_bundle
        >>> model = load_video_model(find_bundle("mini").checkpoint)
        >>> [str(patch) for patch in model.config.patches]
        ['1x2', '2x2', '2x4']
    """
    opened = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint.open(checkpoint)
    with torch.device("meta"):
        model = MultiScaleNextDiT(config or opened.config, ops_for(device))
    weights = {key: value.to(device, dtype) for key, value in opened.weights().items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def read_video_config(path: str | Path) -> VideoConfig:
    """The configuration of the network that ``load_video_model(path)`` loads, with every key and shape checked.

    Reads shapes in place of weights. Raises LuminaError.
    """
    return Checkpoint.open(path).config


def read_file(file: Path, header_only: bool = False) -> tuple[Weights, dict[str, str]]:
    """Tensors by name, and the metadata if the file has any.

    Args:
        file: a .safetensors, .pth or .pt file.
        header_only: read shapes alone; the tensors are then on the meta device.

    Raises:
        LuminaError: another suffix, or a file that cannot be read.
    """
    if file.suffix == ".safetensors":
        return read_safetensors(file, header_only)
    if file.suffix in (".pth", ".pt"):
        return read_pth(file, header_only), {}
    raise LuminaError(
        f"'{file.name}' is not a checkpoint; expected a .safetensors or .pth file.", field="checkpoint", kind="file"
    )


def find_weights(path: str | Path) -> Path:
    """The weights file of ``path``, which is that file or a folder in the released layout. Raises LuminaError."""
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise LuminaError(
            f"Checkpoint '{path}' does not exist; give a released folder, or a .safetensors file.",
            field="checkpoint",
            kind="missing",
        )
    for name in RELEASED_NAMES:
        if (path / name).is_file():
            return path / name
    raise LuminaError(
        f"Folder '{path}' holds no {RELEASED_NAMES[0]} (or .pth); give the folder of the released files.",
        field="checkpoint",
        kind="missing",
    )


def clean_keys(weights: Mapping[str, torch.Tensor]) -> Weights:
    """The tensors under key names without the prefixes that torch.compile and other tools add."""
    return {clean_key(key): value for key, value in weights.items()}


def clean_key(key: str) -> str:
    """A key name without the prefixes that torch.compile and other tools add."""
    key = key.replace("_orig_mod.", "")
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def read_settings(file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings from the metadata of ``file``, else from a model_args.pth beside it, else none.

    Returns:
        Numbers of ``SETTINGS``; rows of ``LATENT_RGB``; ``TRAIN_SIZE`` as a ``LatentSize``. Those that are not stated
        are left out.

    Raises:
        LuminaError: a setting is of another form, or model_args.pth cannot be read.
    """
    fields: Mapping = {}
    if VIDEO_METADATA_KEY in metadata:
        try:
            fields = dict(json.loads(metadata[VIDEO_METADATA_KEY]))
        except (TypeError, ValueError):
            raise LuminaError(
                f"{file.name} has metadata '{VIDEO_METADATA_KEY}' that is not a JSON object; save the file again.",
                field="checkpoint",
                kind="file",
            ) from None
    elif (file.parent / ARGS_NAME).is_file():
        fields = read_model_args(file.parent / ARGS_NAME)
    numbers = {name: fields[name] for name in SETTINGS if name in fields}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            raise LuminaError(
                f"The settings of {file.name} give {name} = {value!r}; expected a number above 0.",
                field=name,
                kind="file",
            )
    settings: dict[str, Any] = {name: float(value) for name, value in numbers.items()}
    for name, read in ((LATENT_RGB, _latent_rgb), (TRAIN_SIZE, _train_size)):
        if fields.get(name) is not None:
            settings[name] = read(file, fields)
    return settings


def video_metadata(config: VideoConfig) -> dict[str, str]:
    """The safetensors metadata for a checkpoint of this configuration, as ``read_settings`` reads it."""
    settings: dict[str, Any] = {name: getattr(config, name) for name in SETTINGS}
    if config.latent_rgb is not None:
        settings[LATENT_RGB] = config.latent_rgb
    if config.train_size is not None:
        settings[TRAIN_SIZE] = astuple(config.train_size)
    return {VIDEO_METADATA_KEY: json.dumps(settings)}


def _latent_rgb(file: Path, fields: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    try:
        rows = tuple(tuple(float(value) for value in row) for row in fields[LATENT_RGB])
    except (TypeError, ValueError):
        rows = ()
    if not rows or any(len(row) != 3 or not all(map(math.isfinite, row)) for row in rows):
        raise LuminaError(
            f"The settings of {file.name} give a {LATENT_RGB} that is not a list of rows of three numbers; write red, "
            "green and blue of each latent channel, or leave it out.",
            field=LATENT_RGB,
            kind="file",
        )
    return rows


def _train_size(file: Path, fields: Mapping[str, Any]) -> LatentSize:
    found = fields[TRAIN_SIZE]
    # isinstance would accept a bool, which is an int in Python.
    if not isinstance(found, (list, tuple)) or len(found) != 3 or any(type(n) is not int or n < 1 for n in found):
        raise LuminaError(
            f"The settings of {file.name} give {TRAIN_SIZE} = {found!r}; expected three whole numbers above 0: latent "
            "frames, height and width of the largest clips that it was trained on.",
            field=TRAIN_SIZE,
            kind="file",
        )
    return LatentSize(*found)


def _detect_config(name: str, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> VideoConfig:
    refuse_other_kinds(name, tensors, VIDEO)
    try:
        config = _config_from_shapes(tensors, settings)
    except LuminaError as error:
        raise LuminaError(
            f"{name} is not a Lumina-Video checkpoint: {error}", field="checkpoint", kind="file"
        ) from None
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        fault = f"{error.args[0]} is missing" if isinstance(error, KeyError) else "its shapes make no network"
        raise LuminaError(
            f"{name} is not a Lumina-Video checkpoint: {fault}; "
            "expected keys such as all_x_embedder.2-1.weight and layers.0.attention.wq.weight.",
            field="checkpoint",
            kind="file",
        ) from None
    with torch.device("meta"):
        network = MultiScaleNextDiT(config)
    check_fit(name, tensors, network, f"a Lumina-Video network of width {config.dim} and {config.layers} layers")
    return config


def _config_from_shapes(weights: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> VideoConfig:
    keys = [m[1] for m in map(_PATCH_KEY.fullmatch, weights) if m]
    if not keys:
        raise KeyError("all_x_embedder")
    patches = tuple(sorted((PatchSize.from_key(k) for k in keys), key=lambda p: p.frames * p.space**2))
    first = patches[0]
    dim, elements = weights[f"all_x_embedder.{first.key}.weight"].shape
    channels = elements // (first.frames * first.space**2)
    return VideoConfig(patches=patches, channels=channels, **layer_sizes(weights, dim), **settings)


def layer_sizes(weights: Mapping[str, torch.Tensor], dim: int) -> dict[str, Any]:
    """The fields of ``VideoConfig`` that the shapes of a network's layers determine.

    Args:
        weights: tensors by published name, or their shapes on the meta device.
        dim: width of the network.

    Raises:
        KeyError: a tensor is missing.
        IndexError, ValueError, ZeroDivisionError: a shape makes no network.
    """
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
