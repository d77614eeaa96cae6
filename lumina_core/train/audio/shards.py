"""Encoded data sets of audio: latents and features of clips, in the format of ``train.shards``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..shards import ItemSet, ItemWriter

ITEMS_PER_SHARD = 64
_TENSORS = ("mean", "std", "visual", "sync", "text")


@dataclass(frozen=True, kw_only=True)
class AudioItem:
    """One encoded clip with audio.

    Args:
        name: path of its file in the source, plus ``@`` and its start in seconds; unique in the data set.
        caption: what the clip shows and sounds like.
        seconds: its length.
        mean, std: of the codec's posterior, (C, T, F); training samples latents from it.
        visual: CLIP features of the frames, (N, Dv).
        sync: Synchformer features of the segments, (S, 8, Ds).
        text: CLIP features of the caption, (L, Dt), without padding.
        av_align: AV-Align score, 0 to 1; None if it has none.
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
    """Index entry of one clip; tensors are replaced by their shapes, see ``AudioItem``."""

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
    """Adds clips with audio to an encoded data set; see ``ItemWriter``."""

    def __init__(self, folder: Path, items_per_shard: int = ITEMS_PER_SHARD):
        super().__init__(folder, AudioEntry, items_per_shard)

    def add(self, item: AudioItem) -> None:
        """Add one clip; its tensors are stored as float16."""
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
    """An encoded data set of clips with audio; see ``ItemSet``."""

    def __init__(self, folder: Path):
        super().__init__(folder, AudioEntry)

    def item(self, index: int) -> AudioItem:
        """The clip at ``index``, with float32 tensors. Raises LuminaError."""
        entry = self.entries[index]
        return AudioItem(
            name=entry.name,
            caption=entry.caption,
            seconds=entry.seconds,
            av_align=entry.av_align,
            **{name: self.tensor(index, f".{name}") for name in _TENSORS},
        )
