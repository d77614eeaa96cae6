"""What the network calls of one sampling run share, inside the host, which has no place for it."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch

from ...lumina_core.network.text_cache import ConditioningCache, SingleEntryCache


class RunContexts:
    """The contexts of the newest run: one for each batch of texts that the host makes of its conditions.

    Texts are recognised by their values, because the host copies them for every call. They go with the run's sigmas,
    the one object that lives exactly as long as a run.

    Args:
        changing: whether weights may change within a run, as scheduled LoRA hooks do; then nothing is kept.
    """

    def __init__(self, changing: Callable[[], bool] = lambda: False):
        self.changing = changing
        self._forget()

    def of(self, features: torch.Tensor, mask: torch.Tensor | None, transformer_options: dict) -> ConditioningCache:
        """The context of features (B, S, D) and their mask (B, S); one that keeps nothing outside of a run."""
        sigmas = transformer_options.get("sample_sigmas")
        if sigmas is None or self.changing():
            return ConditioningCache(features, mask, keep=False)
        if self._run is None or self._run() is not sigmas:
            self._forget()
            self._run = weakref.ref(sigmas, self._end)
        asked = ConditioningCache(features, mask, freqs=self._freqs)
        for kept in self._kept:
            for start in range(len(kept) - len(asked) + 1):
                found = kept[start : start + len(asked)]
                if _equal(found, asked):
                    return found
        self._kept.append(asked)
        return asked

    def _end(self, run: weakref.ref) -> None:
        # The sigmas of an earlier run may be let go after the next one began.
        if run is self._run:
            self._forget()

    def _forget(self) -> None:
        self._run: weakref.ref | None = None
        self._kept: list[ConditioningCache] = []
        self._freqs = SingleEntryCache()


def _equal(a: ConditioningCache, b: ConditioningCache) -> bool:
    if a.features.device != b.features.device or a.features.dtype != b.features.dtype:
        return False
    if (a.mask is None) != (b.mask is None) or not torch.equal(a.features, b.features):
        return False
    return a.mask is None or torch.equal(a.mask, b.mask)
