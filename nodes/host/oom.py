"""Out of memory inside the host: its unused models and cached memory go, then the items of the batch one by one."""

from __future__ import annotations

import logging
import weakref
from typing import Any

import comfy.model_management as management
import torch

from ...lumina_core.runtime.oom import PerSampleFallback, is_out_of_memory

logger = logging.getLogger(__name__)

_EVERYTHING = 1e30  # bytes; what the host itself asks for when it wants all that can be freed
CURES = ("fp8 weights",)


class RunFallback:
    """The fallback of the sampling run that a call belongs to, so that a run falls back once and stays there."""

    def __init__(self) -> None:
        self._run: Any = None
        self._fallback: PerSampleFallback | None = None

    def of(self, transformer_options: dict, device: torch.device) -> PerSampleFallback:
        """That of the run with these options; one that nobody keeps where the call is of no sampling run."""
        # The host makes this tensor once for every run and hands the same one to every call.
        sigmas = transformer_options.get("sample_sigmas")
        if sigmas is None:
            return host_fallback(device)
        if self._fallback is None or self._run() is not sigmas:
            self._run, self._fallback = weakref.ref(sigmas), host_fallback(device)
        return self._fallback


def host_fallback(device: torch.device) -> PerSampleFallback:
    """The core's fallback, freeing what the host holds on ``device`` and writing to the host's log."""
    return PerSampleFallback(
        release=lambda: free_unused(device),
        warn=lambda sentence: logger.warning("Lumina-Video: %s", sentence),
        is_oom=is_oom,
    )


def free_unused(device: torch.device) -> None:
    """Unload the host's models that no run needs now, and give cached memory back."""
    used = [loaded for loaded in management.current_loaded_models if loaded.currently_used]
    management.free_memory(_EVERYTHING, device, keep_loaded=used)
    management.soft_empty_cache()


def options_of(transformer_options: dict, items: slice, batch: int) -> dict:
    """The options of a call with only these items of a batch of ``batch``."""
    conds = transformer_options.get("cond_or_uncond")
    if not conds or items == slice(None):
        return transformer_options
    # Every condition holds equally many items, one condition after the other.
    first = items.start * len(conds) // batch
    one = {"cond_or_uncond": conds[first : first + 1]}
    if len(uuids := transformer_options.get("uuids") or []) == len(conds):
        one["uuids"] = uuids[first : first + 1]
    return {**transformer_options, **one}


def is_oom(error: BaseException) -> bool:
    """Whether this means that the device or the machine has no memory left."""
    # The newer host also knows the ways in which an accelerator's driver says it.
    host_says = getattr(management, "is_oom", None)
    return is_out_of_memory(error) or bool(host_says and host_says(error))
