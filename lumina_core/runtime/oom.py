"""Handles out-of-memory errors of a forward pass: frees memory, then retries once with batch size 1."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from ..errors import LuminaError
from ..shapes.latents import VAE_SPACE, LatentSize
from ..shapes.schedules import PatchSize

logger = logging.getLogger(__name__)

# Parts of torch's messages where it raises a plain RuntimeError: on CPU, on MPS and with some drivers.
OOM_PHRASES = ("out of memory", "can't allocate memory", "not enough memory")
# The message where it is not known which network did not fit.
OUT_OF_MEMORY = "The device ran out of memory; use a smaller size, fewer frames, or smaller VAE tiles."


class OutOfMemory(LuminaError, torch.OutOfMemoryError):
    """A single sample does not fit. It is torch's error too, because hosts free their models when they catch that."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the device or the machine ran out of memory."""
    message = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(phrase in message for phrase in OOM_PHRASES)


@dataclass
class PerSampleFallback:
    """The fallback of one run: after the first out-of-memory error, every forward pass of that run has one sample.

    Args:
        release: frees memory that the run does not need.
        warn: called with one sentence when the fallback begins.
        is_oom: whether a RuntimeError is an out-of-memory error.
        begun: the fallback is in use; it begins only once.
    """

    release: Callable[[], None]
    warn: Callable[[str], None] = logger.warning
    is_oom: Callable[[BaseException], bool] = is_out_of_memory
    begun: bool = False

    def __call__(self, call: Callable[[slice], torch.Tensor], samples: int, message: Callable[[], str]) -> torch.Tensor:
        """``call`` for the whole batch, or for one sample at a time and concatenated.

        Args:
            call: runs the network on a slice of the batch and returns a tensor whose first axis is the batch.
            samples: batch size.
            message: makes the message of the error below.

        Raises:
            OutOfMemory: a single sample does not fit.
        """
        parts = None if self.begun else self._attempt(call, [slice(None)])
        if parts is None:
            if not self.begun:
                self.begun = True
                self.release()
                self.warn(_fallback_message(samples))
            parts = self._attempt(call, [slice(i, i + 1) for i in range(samples)])
        if parts is None:
            raise OutOfMemory(message(), field="size", kind="resource")
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attempt(self, call: Callable[[slice], torch.Tensor], parts: Sequence[slice]) -> list[torch.Tensor] | None:
        try:
            return [call(part) for part in parts]
        except RuntimeError as error:
            if not self.is_oom(error):
                raise
        # The tensors of the failed call are freed only when its traceback is, which is after the handler.
        return None


def _fallback_message(samples: int) -> str:
    if samples == 1:
        return "The network ran out of memory; unused memory is freed and the same call is retried once."
    return (
        f"The network ran out of memory with {samples} samples at once; unused memory is freed and the samples "
        "(positive and negative prompt, clips of a batch) run one after another for the rest of this run."
    )


def oom_message(size: LatentSize, patch: PatchSize, patches: Iterable[PatchSize], more: Sequence[str] = ()) -> str:
    """The message for a clip of which a single sample does not fit.

    Args:
        size: of the latents.
        patch: patch size of the failed forward pass.
        patches: patch sizes of the checkpoint.
        more: further suggestions.
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


def audio_oom_message(seconds: float) -> str:
    """The message for audio of which a single sample does not fit."""
    return f"The network ran out of memory at {seconds:g} s of audio, one sample at a time; use a shorter video."
