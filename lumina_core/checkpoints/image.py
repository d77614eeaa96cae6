"""Loads Lumina-Next checkpoints in the released layout or in that of diffusers, which their keys distinguish."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ..errors import LuminaError
from ..network.image import ImageConfig, ImageNextDiT
from ..network.ops import ops_for
from ..runtime.tensor_files import Weights, check_finite, check_fit, check_unchanged
from ..shapes.latents import VAE_SPACE, LatentSize
from .detect import IMAGE, refuse_other_kinds
from .model_args import read_model_args
from .video import ARGS_NAME, clean_keys, layer_sizes, read_file

_NAMES = [f"consolidated{ema}.00-of-01{end}" for ema in ("", "_ema") for end in (".safetensors", ".pth")]
_NAMES += [f"{folder}diffusion_pytorch_model.safetensors" for folder in ("transformer/", "")]
_LAYER = re.compile(r"layers\.\d+\.")
# From diffusers' names to the released ones, outside of the layers.
_OUTER = {
    "patch_embedder.proj": "x_embedder",
    "norm_out.linear_1": "final_layer.adaLN_modulation.1",
    "norm_out.linear_2": "final_layer.linear",
    "time_caption_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_caption_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_caption_embed.caption_embedder.0": "cap_embedder.0",
    "time_caption_embed.caption_embedder.1": "cap_embedder.1",
}
# The same after ``layers.<number>.``. Both attentions of a layer share one query projection.
_PER_LAYER = {
    "gate": "attention.gate",
    "attn1.to_q": "attention.wq",
    "attn1.to_k": "attention.wk",
    "attn1.to_v": "attention.wv",
    "attn1.norm_q": "attention.q_norm",
    "attn1.norm_k": "attention.k_norm",
    "attn2.to_q": "attention.wq",
    "attn2.to_k": "attention.wk_y",
    "attn2.to_v": "attention.wv_y",
    "attn2.to_out.0": "attention.wo",
    "attn2.norm_q": "attention.q_norm",
    "attn2.norm_k": "attention.ky_norm",
    "feed_forward.linear_1": "feed_forward.w1",
    "feed_forward.linear_2": "feed_forward.w2",
    "feed_forward.linear_3": "feed_forward.w3",
    "norm1.linear": "adaLN_modulation.1",
    "norm1.norm": "attention_norm1",
    "norm1_context": "attention_y_norm",
    "norm2": "attention_norm2",
}


@dataclass(frozen=True)
class ImageCheckpoint:
    """An opened checkpoint file: its configuration, and its weights when they are asked for.

    Args:
        path: of the file.
        tensors: by their names in the file, on the meta device.
    """

    path: Path
    tensors: Weights

    @classmethod
    def open(cls, path: str | Path) -> ImageCheckpoint:
        """Read the header of a file, or of a folder in either layout. Raises LuminaError."""
        file = find_image_weights(path)
        return cls(file, read_file(file, header_only=True)[0])

    @cached_property
    def config(self) -> ImageConfig:
        """The configuration, with every key and shape checked. Raises LuminaError; see ``image_parts``."""
        return image_parts(self.path, self.tensors)[0]

    def weights(self) -> Weights:
        """The tensors by released name, on the CPU in the file's dtypes.

        Raises:
            LuminaError: the file cannot be read, holds NaN or infinite values, or has changed since it was opened.
        """
        read = read_file(self.path)[0]
        check_unchanged(self.path.name, self.tensors, read)
        return image_parts(self.path, read)[1]


def load_image_model(
    checkpoint: str | Path | ImageCheckpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    config: ImageConfig | None = None,
) -> ImageNextDiT:
    """Load a Lumina-Next.

    Args:
        checkpoint: a folder in the released or the diffusers layout, one .safetensors or .pth file, or an opened
            checkpoint.
        device: of the network.
        dtype: of its parameters.
        config: of the same sizes, in place of the checkpoint's own; such as one with other ``guided_channels``.

    Returns:
        The network in eval mode, without gradients.

    Raises:
        LuminaError: the file is missing, damaged or another kind of checkpoint.
    """
    opened = checkpoint if isinstance(checkpoint, ImageCheckpoint) else ImageCheckpoint.open(checkpoint)
    with torch.device("meta"):
        model = ImageNextDiT(config or opened.config, ops_for(device))
    weights = {key: value.to(device, dtype) for key, value in opened.weights().items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def find_image_weights(path: str | Path) -> Path:
    """The weights file of ``path``, which is that file or a folder in either layout. Raises LuminaError."""
    path = Path(path)
    found = next((file for file in (path, *(path / name for name in _NAMES)) if file.is_file()), None)
    if found is None:
        raise LuminaError(
            f"'{path}' holds no Lumina-Next weights, such as {_NAMES[0]} or {_NAMES[-2]}; give their folder or file.",
            field="checkpoint",
            kind="missing",
        )
    return found


def image_parts(file: Path, weights: Mapping[str, torch.Tensor]) -> tuple[ImageConfig, Weights]:
    """Configuration and weights by released names, with every key, shape and value checked.

    Args:
        file: the settings beside it are read.
        weights: tensors of ``file`` in either layout.

    Raises:
        LuminaError: another kind of checkpoint, or keys, shapes or values that are wrong.
    """
    weights = clean_keys(weights)
    refuse_other_kinds(file.name, weights, IMAGE)
    check_finite(file.name, {key: value for key, value in weights.items() if not value.is_meta})
    weights, side = _released(file.name, weights), _train_side(file)
    try:
        config = _config(weights, side)
    except (KeyError, ValueError, IndexError, ZeroDivisionError):
        raise LuminaError(
            f"{file.name} is not a Lumina-Next checkpoint; expected keys such as x_embedder.weight and "
            "layers.0.attention.wk_y.weight, or diffusers' patch_embedder.proj.weight.",
            field="checkpoint",
            kind="file",
        ) from None
    with torch.device("meta"):
        network = ImageNextDiT(config)
    check_fit(file.name, weights, network, f"a Lumina-Next of width {config.dim} and {config.layers} layers")
    return config, weights


def _released(name: str, weights: Weights) -> Weights:
    """The weights by released names, from either layout. Raises LuminaError."""
    found: Weights = {}
    for key, value in weights.items():
        new = _released_key(key)
        if new in found and not value.is_meta and not torch.equal(found[new], value):
            raise LuminaError(
                f"{name} has two different values of {new}, but Lumina-Next has one; download it again.",
                field="checkpoint",
                kind="file",
            )
        found[new] = value
    return found


def _released_key(key: str) -> str:
    """The released name for a key of diffusers; any other key is unchanged."""
    module, dot, parameter = key.rpartition(".")
    if parameter not in ("weight", "bias"):
        module, dot, parameter = key, "", ""
    layer = _LAYER.match(module)
    if layer is None:
        return f"{_OUTER.get(module, module)}{dot}{parameter}"
    inside = module[layer.end() :]
    return f"{layer[0]}{_PER_LAYER.get(inside, inside)}{dot}{parameter}"


def _config(weights: Weights, side: int) -> ImageConfig:
    dim, elements = weights["x_embedder.weight"].shape
    doubled = weights["final_layer.linear.weight"].shape[0] == 2 * elements
    train = LatentSize(1, side, side)
    return ImageConfig(channels=elements // 4, learn_sigma=doubled, train_size=train, **layer_sizes(weights, dim))


def _train_side(file: Path) -> int:
    """Side of the training images in latent pixels, from the settings beside the weights, else the released one."""
    config, args, side = file.parent / "config.json", file.parent / ARGS_NAME, 128
    try:
        if config.is_file():
            side = json.loads(config.read_text(encoding="utf-8")).get("sample_size", side)
        elif args.is_file():
            side = read_model_args(args).get("image_size", side * VAE_SPACE) // VAE_SPACE
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError, OSError):
        side = None
    if not isinstance(side, int) or side < 2:
        raise LuminaError(
            f"The settings beside {file.name} give no size of the training images; download them again.",
            field="checkpoint",
            kind="file",
        )
    return side
