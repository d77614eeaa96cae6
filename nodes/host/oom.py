"""Out of memory in the host: free unused models and cached memory, then run the samples of the batch one by one."""

from __future__ import annotations

import logging

import comfy.model_management as management
import torch

from ...lumina_core.runtime.oom import PerSampleFallback, is_out_of_memory
from .per_run import PerRun

logger = logging.getLogger(__name__)

# Bytes; more than any device has, so "free all that you can" or "no limit".
EVERYTHING = 1e32
# What the error message suggests in addition to the core's own suggestions.
SUGGESTIONS = ("fp8 weights",)


class RunFallback:
    """The fallback of the current sampling run, so that a run that falls back once stays with one sample at a time."""

    def __init__(self) -> None:
        self._fallback: PerRun[PerSampleFallback] = PerRun()

    def of(self, transformer_options: dict, device: torch.device) -> PerSampleFallback:
        """The fallback of the run with these options; a temporary one for a call outside of a sampling run."""
        return self._fallback.of(transformer_options, lambda: host_fallback(device)) or host_fallback(device)


def host_fallback(device: torch.device) -> PerSampleFallback:
    """The core's fallback, which frees what the host keeps on ``device`` and writes to the host's log."""
    return PerSampleFallback(
        release=lambda: free_unused(device),
        warn=lambda sentence: logger.warning("Lumina-Video: %s", sentence),
        is_oom=is_oom,
    )


def free_unused(device: torch.device) -> None:
    """Unload models of the host that are not in use, and release cached memory."""
    used = [loaded for loaded in management.current_loaded_models if loaded.currently_used]
    management.free_memory(EVERYTHING, device, keep_loaded=used)
    management.soft_empty_cache()


def options_of_samples(transformer_options: dict, samples: slice, batch: int) -> dict:
    """``transformer_options`` for a call with only these samples of a batch of size ``batch``."""
    conds = transformer_options.get("cond_or_uncond")
    if not conds or samples == slice(None):
        return transformer_options
    # The batch holds one condition after the other, each with the same number of samples.
    first = samples.start * len(conds) // batch
    one = {"cond_or_uncond": conds[first : first + 1]}
    if len(uuids := transformer_options.get("uuids") or []) == len(conds):
        one["uuids"] = uuids[first : first + 1]
    return {**transformer_options, **one}


def is_oom(error: BaseException) -> bool:
    """Whether an error means that the device or the machine is out of memory."""
    # The newer host also recognizes the errors of accelerator drivers.
    host_says = getattr(management, "is_oom", None)
    return is_out_of_memory(error) or bool(host_says and host_says(error))
