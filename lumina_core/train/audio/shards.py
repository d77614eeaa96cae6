"""Encoded sounds on disk: what the codec and the encoders made of a clip, in the shards that clips are kept in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..shards import ItemSet, ItemWriter

ITEMS_PER_SHARD = 64
_TENSORS = ("mean", "std", "visual", "sync", "text")


@dataclass(frozen=True, kw_only=True)
class AudioItem:
    """One clip with its sound.

    Args:
        name: what it was made from; unique in its set.
        mean, std: of the latents' posterior, (C, T, F); training draws from it.
        visual: of the frames, (N, Dv).
        sync: of the segments, (S, 8, Ds).
        text: of the caption, (L, Dt), only tokens that count.
        av_align: AV-Align score, None when there is none.
    """

    name: str
    caption: str
    seconds: float
    mean: torch.Tensor
    std: torch.Tensor
    visual: torch.Tensor
    sync: torch.Tensor
    text: torch.Tensor
    av_align: float | None = None


@dataclass(frozen=True, kw_only=True)
class AudioEntry:
    """One item's line: what it is, and the shapes of its tensors."""

    name: str
    caption: str
    seconds: float
    mean: tuple[int, int, int]
    visual: tuple[int, int]
    sync: tuple[int, int, int]
    text: tuple[int, int]
    av_align: float | None
    shard: str


class AudioShardWriter(ItemWriter[AudioEntry]):
    """Adds sounds to an encoded set, from where an earlier run stopped. Use as a context manager."""

    def __init__(self, folder: Path, items_per_shard: int = ITEMS_PER_SHARD):
        super().__init__(folder, AudioEntry, items_per_shard)

    def add(self, item: AudioItem) -> None:
        """Take one item; its tensors are kept in float16."""
        tensors = {name: getattr(item, name) for name in _TENSORS}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name != "std"}
        self.put(
            {f".{name}": tensor for name, tensor in tensors.items()},
            name=item.name,
            caption=item.caption,
            seconds=item.seconds,
            av_align=item.av_align,
            **shapes,
        )


class AudioSet(ItemSet[AudioEntry]):
    """Encoded sounds for reading."""

    def __init__(self, folder: Path):
        super().__init__(folder, AudioEntry)

    def item(self, index: int) -> AudioItem:
        """One item, its tensors float32."""
        entry = self.entries[index]
        return AudioItem(
            name=entry.name,
            caption=entry.caption,
            seconds=entry.seconds,
            av_align=entry.av_align,
            **{name: self.tensor(index, f".{name}") for name in _TENSORS},
        )
