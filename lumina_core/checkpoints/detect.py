"""Recognizes the architecture of a checkpoint by its key names, so that an error can name what a wrong file is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..errors import LuminaError


@dataclass(frozen=True)
class Kind:
    """An architecture of checkpoints.

    Args:
        name: with its article, for messages.
        advice: a clause that says what loads it.
        fits: whether key names are those of this architecture.
    """

    name: str
    advice: str
    fits: Callable[[Collection[str]], bool]


def _has(*beginnings: str) -> Callable[[Collection[str]], bool]:
    """A test that for each of these prefixes some key begins with it."""
    return lambda keys: all(any(key.startswith(beginning) for key in keys) for beginning in beginnings)


def _either(*tests: Callable[[Collection[str]], bool]) -> Callable[[Collection[str]], bool]:
    """A test that at least one of ``tests`` passes."""
    return lambda keys: any(test(keys) for test in tests)


_UNSUPPORTED = "it is not supported"
VIDEO = Kind("a Lumina-Video checkpoint", "Load Lumina-Video Model reads it", _has("all_x_embedder."))
AUDIO = Kind("a Lumina-V2A audio model", "Load Lumina-Video Audio Model reads it", _has("sync_proj.", "visual_proj."))
# Related models share the names outside of the layers, so a Lumina-Next is recognized by names in its layers.
IMAGE = Kind(
    "a Lumina-Next image checkpoint",
    "Load Lumina-Next Model reads it",
    _either(
        _has("x_embedder.", "cap_embedder.", "layers.0.attention.wk_y.", "layers.0.attention_norm1."),
        _has("patch_embedder.", "time_caption_embed.", "layers.0.attn2."),
    ),
)
# A VAE that Load Lumina-Video VAE reads: that of CogVideoX, or a ``CompactVAE``. Not among KINDS, which are networks.
VIDEO_VAE = Kind(
    "a video VAE that Lumina-Video uses",
    "Load Lumina-Video VAE reads it",
    _either(_has("decoder.mid_block.resnets.0.norm1.conv_y."), _has("decoder.range.mean", "decoder.narrow.")),
)
# In the order in which they are tried.
KINDS = (
    VIDEO,
    AUDIO,
    Kind(
        "a Lumina-Image-2.0 checkpoint",
        "ComfyUI itself reads it, by Load Diffusion Model or Load Checkpoint",
        _has("context_refiner.", "noise_refiner."),
    ),
    Kind("a class-conditional ImageNet model of Lumina-T2X", _UNSUPPORTED, _has("y_embedder.", "layers.0.")),
    Kind(
        "a Flag-DiT of Lumina-T2X for images (Lumina-T2I)",
        _UNSUPPORTED,
        _has("layers.0.attention_norm."),
    ),
    Kind("a Flag-DiT of Lumina-T2X for audio or music", _UNSUPPORTED, _has("proj_in.", "blocks.0.attention_norm.")),
    IMAGE,
)


def kind_of(keys: Collection[str]) -> Kind | None:
    """The architecture with these key names; None if it is not recognized."""
    return next((kind for kind in KINDS if kind.fits(keys)), None)


def refuse_other_kinds(name: str, keys: Collection[str], wanted: Kind) -> None:
    """Raise LuminaError if the keys of file ``name`` are those of a recognized architecture other than ``wanted``."""
    found = kind_of(keys)
    if found not in (None, wanted):
        raise LuminaError(
            f"{name} is {found.name}, not {wanted.name}; {found.advice}.", field="checkpoint", kind="mismatch"
        )
