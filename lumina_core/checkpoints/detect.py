"""What a file of weights is, by the names in it, so that the wrong one is told by its name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..errors import LuminaError


@dataclass(frozen=True)
class Kind:
    """A family of checkpoints.

    Args:
        name: what it is, in words.
        cure: what to do with it.
        fits: whether these key names are of it.
    """

    name: str
    cure: str
    fits: Callable[[Collection[str]], bool]


def _has(*beginnings: str) -> Callable[[Collection[str]], bool]:
    """Every one of these begins a key."""
    return lambda keys: all(any(key.startswith(beginning) for key in keys) for beginning in beginnings)


def _either(*tests: Callable[[Collection[str]], bool]) -> Callable[[Collection[str]], bool]:
    return lambda keys: any(test(keys) for test in tests)


_UNSUPPORTED = "it is not supported"
VIDEO = Kind("a Lumina-Video checkpoint", "Load Lumina-Video Model reads it", _has("all_x_embedder."))
SOUND = Kind("a Lumina-V2A sound model", "Load Lumina-Video Audio Model reads it", _has("sync_proj.", "visual_proj."))
# Layer names tell a Lumina-Next from the family's others, which share the names around the layers.
IMAGE = Kind(
    "a Lumina-Next image checkpoint",
    "Load Lumina-Next Model reads it",
    _either(
        _has("x_embedder.", "cap_embedder.", "layers.0.attention.wk_y.", "layers.0.attention_norm1."),
        _has("patch_embedder.", "time_caption_embed.", "layers.0.attn2."),
    ),
)
KINDS = (
    VIDEO,
    SOUND,
    Kind(
        "a Lumina-Image-2.0 checkpoint",
        "ComfyUI itself reads it, by Load Diffusion Model or Load Checkpoint",
        _has("context_refiner.", "noise_refiner."),
    ),
    Kind("a class-conditional ImageNet model of Lumina-T2X", _UNSUPPORTED, _has("y_embedder.", "layers.0.")),
    Kind(
        "a Flag-DiT of Lumina-T2X for pictures (Lumina-T2I)",
        _UNSUPPORTED,
        _has("layers.0.attention_norm."),
    ),
    Kind("a Flag-DiT of Lumina-T2X for audio or music", _UNSUPPORTED, _has("proj_in.", "blocks.0.attention_norm.")),
    IMAGE,
)
"""In the order they are tried."""


def kind_of(keys: Collection[str]) -> Kind | None:
    """The kind of a file with these key names, None for a stranger."""
    return next((kind for kind in KINDS if kind.fits(keys)), None)


def refuse_other_kinds(name: str, keys: Collection[str], wanted: Kind) -> None:
    """Raise LuminaError where file ``name``, by its keys, is of another kind than ``wanted``; strangers pass."""
    found = kind_of(keys)
    if found not in (None, wanted):
        raise LuminaError(f"{name} is {found.name}, not {wanted.name}; {found.cure}.")
