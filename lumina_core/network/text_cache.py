"""What the network calls of one run share: the text, and all that would otherwise be made of constants again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

from .cpu_kernels import keep_freed_memory

KeysValues = tuple[torch.Tensor, torch.Tensor]
"""Of one layer, each (B, kv_heads, S, head_dim)."""


class LastMade:
    """The newest of some values that are dear to make."""

    def __init__(self) -> None:
        self._kept: tuple[Hashable, Any] = (None, None)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of ``key``; ``make()`` where another key was asked for last."""
        if self._kept[0] != key:
            self._kept = key, make()
        return self._kept[1]


class RunContext:
    """Text features of a batch, with pooled text, keys and values of every layer, and rotary tables, made once.

    Whoever samples makes one per run and drops it with the run, so nothing outlives a change of the weights. A plain
    call of the network makes one that keeps nothing (``keep`` False): in training everything is made anew.

    Args:
        features: (B, S, D).
        mask: bool (B, S), True where a token counts; None, as well as a mask that hides nothing, when all do.
        rotations: rotary tables, where several contexts of a run share them.
    """

    def __init__(
        self,
        features: torch.Tensor,
        mask: torch.Tensor | None,
        keep: bool = True,
        rotations: LastMade | None = None,
    ):
        self.features, self.keep = features, keep
        if keep and features.device.type == "cpu":
            keep_freed_memory()
        self.mask = None if mask is None or bool(mask.all()) else mask.bool()
        self.rotations = rotations or LastMade()
        self._pooled: torch.Tensor | None = None
        self._layers: dict[int, KeysValues] = {}

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice) -> RunContext:
        """These items of the batch, which share what is kept."""
        return self if rows in (slice(None), slice(0, len(self))) else _Rows(self, rows)

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

    def rotation(self, grid: Hashable, make: Callable[[], Any]) -> Any:
        """The rotary table of a grid of positions. One is kept, until a patch size asks for another."""
        return self.rotations.get(grid, make) if self.keep else make()


class _Rows(RunContext):
    """Some items of another context, views of what that one keeps."""

    def __init__(self, whole: RunContext, rows: slice):
        mask = None if whole.mask is None else whole.mask[rows]
        super().__init__(whole.features[rows], mask, whole.keep, whole.rotations)
        self.whole, self.rows = whole, rows

    def pooled(self, make: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]) -> torch.Tensor:
        return self.whole.pooled(make)[self.rows]

    def layer(self, index: int, make: Callable[[torch.Tensor], KeysValues]) -> torch.Tensor | KeysValues:
        found = self.whole.layer(index, make)
        return found[self.rows] if isinstance(found, torch.Tensor) else tuple(part[self.rows] for part in found)
