"""Out of memory in a forward pass: free memory, then retry once with one sample of the batch at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from ..errors import LuminaError
from ..shapes.latents import VAE_SPACE, LatentSize
from ..shapes.schedules import PatchSize

logger = logging.getLogger(__name__)

# What torch says where it has no error type for it: on a CPU, on MPS and in some drivers.
OOM_PHRASES = ("out of memory", "can't allocate memory", "not enough memory")


class OutOfMemory(LuminaError, torch.OutOfMemoryError):
    """Nothing is left to try. Also torch's own error, so that a host that frees its models on that one still does."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that a device or the machine has no memory left."""
    message = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(phrase in message for phrase in OOM_PHRASES)


@dataclass
class PerSampleFallback:
    """The fallback of one run: after the first out-of-memory, every forward pass of that run has one sample.

    Args:
        release: gives back memory that nothing of the run needs.
        warn: is given one sentence when the fallback begins.
        is_oom: which RuntimeErrors are out-of-memory.
        begun: the fallback is in use; it is never tried a second time.
    """

    release: Callable[[], None]
    warn: Callable[[str], None] = logger.warning
    is_oom: Callable[[BaseException], bool] = is_out_of_memory
    begun: bool = False

    def __call__(self, call: Callable[[slice], torch.Tensor], samples: int, message: Callable[[], str]) -> torch.Tensor:
        """``call(slice(None))``, or what ``call`` gives for each sample of the batch, joined.

        Args:
            call: runs the network on these samples of the batch; returns a tensor whose first axis is the samples.
            samples: of the whole batch.
            message: the sentence of the OutOfMemory that is raised when a single sample does not fit either.
        """
        parts = None if self.begun else self._attempt(call, [slice(None)])
        if parts is None:
            if not self.begun:
                self.begun = True
                self.release()
                self.warn(_fallback_message(samples))
            parts = self._attempt(call, [slice(i, i + 1) for i in range(samples)])
        if parts is None:
            raise OutOfMemory(message(), kind="resource")
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attempt(
        self, call: Callable[[slice], torch.Tensor], parts: Sequence[slice]
    ) -> list[torch.Tensor] | None:
        try:
            return [call(part) for part in parts]
        except RuntimeError as error:
            if not self.is_oom(error):
                raise
        # Only here, after the handler, are the frames of the failed call and their tensors gone.
        return None


def _fallback_message(samples: int) -> str:
    if samples == 1:
        return "The network ran out of memory; unused memory is freed and the same call is tried once more."
    return (
        f"The network ran out of memory with {samples} samples at once; unused memory is freed and the samples "
        "(positive and negative prompt, clips of a batch) run one after another for the rest of this run."
    )


def oom_message(size: LatentSize, patch: PatchSize, patches: Iterable[PatchSize], more: Sequence[str] = ()) -> str:
    """The sentence for a clip of which a single sample does not fit.

    Args:
        size: of the latents.
        patch: patch size of the call that failed.
        patches: those that the checkpoint has.
        more: further remedies.
    """
    clip = "an image" if size.frames == 1 else f"{size.pixel_frames} frames"
    coarser = " or ".join(str(p) for p in patches if size.tokens(p) < size.tokens(patch))
    remedies = ["fewer frames"] * (size.frames > 1) + ["a smaller size"]
    remedies += [f"a coarser patch schedule ({coarser})"] * bool(coarser) + list(more)
    *first, last = remedies
    return (
        f"The network ran out of memory at {size.width * VAE_SPACE}x{size.height * VAE_SPACE} and {clip} with patch "
        f"size {patch}, one sample at a time; use {', '.join(first)}{' or ' * bool(first)}{last}."
    )
