"""The text K/V cache of a sampling run inside the host.

The core's sampler computes the keys and values of the text once per run. The host's sampler has no place for such a
cache: it calls the network with a batch of text features that it copies together from its conditions for every call,
and may take the positive and the negative text in one batch, in two, or one sample at a time when memory is short.
So a batch is recognized by value: if its features and mask equal those of a batch of this run, or of some of its
samples, the cached keys and values are used, or a view of them. Comparing costs one pass over the features, which is
far less than projecting them in every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ...lumina_core.network.text_cache import ConditioningCache, SingleEntryCache
from .per_run import PerRun


@dataclass
class _Caches:
    """What a run keeps: the conditioning cache of each batch of texts, and the RoPE frequencies that they share."""

    kept: list[ConditioningCache] = field(default_factory=list)
    freqs: SingleEntryCache = field(default_factory=SingleEntryCache)


class RunTextCaches:
    """The conditioning caches of the latest run, one for each batch of texts that the host has passed.

    Args:
        changing: whether weights may change within a run, as scheduled LoRA hooks do; then nothing is cached.
    """

    def __init__(self, changing: Callable[[], bool] = lambda: False):
        self.changing = changing
        self._caches: PerRun[_Caches] = PerRun()

    def of(self, features: torch.Tensor, mask: torch.Tensor | None, transformer_options: dict) -> ConditioningCache:
        """The cache of a batch of texts; outside of a run, one that keeps nothing.

        Args:
            features: (B, S, D).
            mask: bool (B, S), True where a token counts; None when all do.
            transformer_options: the host's, of this call.
        """
        caches = None if self.changing() else self._caches.of(transformer_options, _Caches)
        if caches is None:
            return ConditioningCache(features, mask, keep=False)
        wanted = ConditioningCache(features, mask, freqs=caches.freqs)
        for kept in caches.kept:
            for start in range(len(kept) - len(wanted) + 1):
                found = kept[start : start + len(wanted)]
                if _equal(found, wanted):
                    return found
        caches.kept.append(wanted)
        return wanted


def _equal(a: ConditioningCache, b: ConditioningCache) -> bool:
    if a.features.device != b.features.device or a.features.dtype != b.features.dtype:
        return False
    if not torch.equal(a.features, b.features):
        return False
    if a.mask is None or b.mask is None:
        return a.mask is b.mask
    return torch.equal(a.mask, b.mask)
