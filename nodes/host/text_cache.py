"""The text K/V cache of a sampling run inside the host.

The core's sampler computes the keys and values of the text once per run. The host's sampler has no place for such a
cache: it calls the network with a batch of text features that it copies together from its conditions for every call,
and may take the positive and the negative text in one batch, in two, or one sample at a time when memory is short.
So a batch is recognized by value: if its features and mask equal those of a batch of this run, or of some of its
samples, the cached keys and values are used, or a view of them. Comparing costs one pass over the features, which is
far less than projecting them in every layer.

The cache lives as long as the run. A run has one tensor of sigmas, which the host passes to every call in
``transformer_options["sample_sigmas"]`` and drops at the end; a weak reference to it marks the run and frees the cache.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch

from ...lumina_core.network.text_cache import ConditioningCache, SingleEntryCache


class RunTextCaches:
    """The conditioning caches of the latest run, one for each batch of texts that the host has passed.

    Args:
        changing: whether weights may change within a run, as scheduled LoRA hooks do; then nothing is cached.
    """

    def __init__(self, changing: Callable[[], bool] = lambda: False):
        self.changing = changing
        self._forget()

    def of(self, features: torch.Tensor, mask: torch.Tensor | None, transformer_options: dict) -> ConditioningCache:
        """The cache of a batch of texts; outside of a run, one that keeps nothing.

        Args:
            features: (B, S, D).
            mask: bool (B, S), True where a token counts; None when all do.
            transformer_options: the host's, of this call.
        """
        sigmas = transformer_options.get("sample_sigmas")
        if sigmas is None or self.changing():
            return ConditioningCache(features, mask, keep=False)
        if self._run is None or self._run() is not sigmas:
            self._forget()
            self._run = weakref.ref(sigmas, self._end)
        wanted = ConditioningCache(features, mask, freqs=self._freqs)
        for kept in self._kept:
            for start in range(len(kept) - len(wanted) + 1):
                found = kept[start : start + len(wanted)]
                if _equal(found, wanted):
                    return found
        self._kept.append(wanted)
        return wanted

    def _end(self, run: weakref.ref) -> None:
        # The sigmas of an earlier run may be freed after the next run has begun.
        if run is self._run:
            self._forget()

    def _forget(self) -> None:
        self._run: weakref.ref | None = None
        self._kept: list[ConditioningCache] = []
        self._freqs = SingleEntryCache()


def _equal(a: ConditioningCache, b: ConditioningCache) -> bool:
    if a.features.device != b.features.device or a.features.dtype != b.features.dtype:
        return False
    if not torch.equal(a.features, b.features):
        return False
    if a.mask is None or b.mask is None:
        return a.mask is b.mask
    return torch.equal(a.mask, b.mask)
