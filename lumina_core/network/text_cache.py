"""What the forward passes of one run share: the text, and everything else that does not change from step to step."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

# Of one layer, each (B, kv_heads, S, head_dim).
KeysValues = tuple[torch.Tensor, torch.Tensor]


class SingleEntryCache:
    """The newest of some values that are expensive to compute."""

    def __init__(self) -> None:
        self._kept: tuple[Hashable, Any] = (None, None)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of ``key``; ``make()`` where another key was asked for last."""
        if self._kept[0] != key:
            self._kept = key, make()
        return self._kept[1]


class ConditioningCache:
    """Text features of a batch, and what is computed once of them: pooled text, every layer's K/V, rotary tables.

    A sampler makes one per run and drops it with the run, so nothing outlives a change of the weights. A plain forward
    pass makes one that keeps nothing (``keep`` False): in training everything is computed again.

    Args:
        features: (B, S, D).
        mask: bool (B, S), True where a token counts; None, as well as a mask that hides nothing, when all do.
        keep: whether anything is kept.
        freqs: rotary tables, where several caches of a run share them.
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
        return len(self.features)

    def __getitem__(self, part: slice) -> ConditioningCache:
        """These samples of the batch; they share what is kept."""
        return self if part in (slice(None), slice(0, len(self))) else BatchView(self, part)

    def pooled(self, make: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]) -> torch.Tensor:
        """``make(features, mask)``, (B, A)."""
        if not self.keep:
            return make(self.features, self.mask)
        if self._pooled is None:
            self._pooled = make(self.features, self.mask)
        return self._pooled

    def layer(self, index: int, make: Callable[[torch.Tensor], KeysValues]) -> torch.Tensor | KeysValues:
        """What block ``index`` attends to: ``make(features)``, or the features alone where nothing is kept."""
        if not self.keep:
            return self.features
        if index not in self._layers:
            self._layers[index] = make(self.features)
        return self._layers[index]

    def positions(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The rotary tables of ``key``. One entry is kept, until a patch size asks for another."""
        return self.freqs.get(key, make) if self.keep else make()


class BatchView(ConditioningCache):
    """Some samples of another cache: views of what that one keeps."""

    def __init__(self, whole: ConditioningCache, part: slice):
        mask = None if whole.mask is None else whole.mask[part]
        super().__init__(whole.features[part], mask, whole.keep, whole.freqs)
        self.whole, self.part = whole, part

    def pooled(self, make: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]) -> torch.Tensor:
        """As of the whole batch, these samples of it."""
        return self.whole.pooled(make)[self.part]

    def layer(self, index: int, make: Callable[[torch.Tensor], KeysValues]) -> torch.Tensor | KeysValues:
        """As of the whole batch, these samples of it."""
        found = self.whole.layer(index, make)
        if isinstance(found, torch.Tensor):
            return found[self.part]
        keys, values = found
        return keys[self.part], values[self.part]
