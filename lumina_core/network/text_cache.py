"""Caches what the forward passes of one run share: keys and values of the text, pooled text and rotary tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

# Keys and values of one layer, each (B, kv_heads, S, head_dim).
KeysValues = tuple[torch.Tensor, torch.Tensor]


class SingleEntryCache:
    """A cache of one entry, the latest."""

    def __init__(self) -> None:
        self._kept: tuple[Hashable, Any] = (None, None)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of ``key``, computed by ``make`` unless the previous call had the same key."""
        if self._kept[0] != key:
            self._kept = key, make()
        return self._kept[1]


class ConditioningCache:
    """Text features of a batch, and what is computed from them once per run: pooled text and every layer's K/V.

    A sampler creates one per run and drops it at the end, so that no entry outlives a change of the weights. A single
    forward pass, as in training, creates one that caches nothing (``keep`` False).

    Args:
        features: (B, S, D).
        mask: bool (B, S), True where a token counts; None when all do.
        keep: whether anything is cached.
        freqs: cache of rotary tables, if several caches of a run share it.
    """

    def __init__(
        self,
        features: torch.Tensor,
        mask: torch.Tensor | None,
        keep: bool = True,
        freqs: SingleEntryCache | None = None,
    ):
        self.features, self.keep = features, keep
        self.mask = None if mask is None or bool(mask.all()) else mask.bool()
        self.freqs = freqs or SingleEntryCache()
        self._pooled: torch.Tensor | None = None
        self._layers: dict[int, KeysValues] = {}

    def __len__(self) -> int:
        """Batch size."""
        return len(self.features)

    def __getitem__(self, part: slice) -> ConditioningCache:
        """These samples of the batch, which share the cached values."""
        return self if part in (slice(None), slice(0, len(self))) else BatchView(self, part)

    def pooled(self, make: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]) -> torch.Tensor:
        """The pooled text, ``make(features, mask)``, (B, A)."""
        if not self.keep:
            return make(self.features, self.mask)
        if self._pooled is None:
            self._pooled = make(self.features, self.mask)
        return self._pooled

    def layer(self, index: int, make: Callable[[torch.Tensor], KeysValues]) -> torch.Tensor | KeysValues:
        """The context of block ``index``: ``make(features)``, or the features themselves if nothing is cached."""
        if not self.keep:
            return self.features
        if index not in self._layers:
            self._layers[index] = make(self.features)
        return self._layers[index]

    def positions(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The rotary tables of ``key``. One entry is cached, which a new patch size replaces."""
        return self.freqs.get(key, make) if self.keep else make()


class BatchView(ConditioningCache):
    """Some samples of another cache, as views of its cached values.

    Args:
        whole: the other cache.
        part: slice of its batch.
    """

    def __init__(self, whole: ConditioningCache, part: slice):
        mask = None if whole.mask is None else whole.mask[part]
        super().__init__(whole.features[part], mask, whole.keep, whole.freqs)
        self.whole, self.part = whole, part

    def pooled(self, make: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]) -> torch.Tensor:
        """Pooled text of these samples, computed for the whole batch."""
        return self.whole.pooled(make)[self.part]

    def layer(self, index: int, make: Callable[[torch.Tensor], KeysValues]) -> torch.Tensor | KeysValues:
        """Context of these samples, computed for the whole batch."""
        found = self.whole.layer(index, make)
        if isinstance(found, torch.Tensor):
            return found[self.part]
        keys, values = found
        return keys[self.part], values[self.part]
