"""Out of memory in a call of the network: memory is freed and the items of the batch go one by one, once, and said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from ..errors import LuminaError
from ..shapes.latents import VAE_SPACE, LatentSize
from ..shapes.schedules import PatchSize

# What torch says where it has no error type for it: on a processor, on MPS and in some drivers.
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


class OutOfMemory(LuminaError, torch.OutOfMemoryError):
    """Nothing is left to try. Also torch's own error, so that a host that frees its models on that one still does."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that a device or the machine has no memory left."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in said for words in _WORDS)


@dataclass
class OneByOne:
    """The fallback of one run: after the first out-of-memory, every call of that run has one item.

    Args:
        release: gives back memory that nothing of the run needs.
        tell: is given one sentence when the fallback begins.
        is_oom: which RuntimeErrors are out-of-memory.
        begun: the fallback is in use; it is never tried a second time.
    """

    release: Callable[[], None]
    tell: Callable[[str], None] = logging.getLogger(__name__).warning
    is_oom: Callable[[BaseException], bool] = is_out_of_memory
    begun: bool = False

    def __call__(self, call: Callable[[slice], torch.Tensor], items: int, refusal: Callable[[], str]) -> torch.Tensor:
        """``call(slice(None))``, or what ``call`` gives for each item of the batch, joined.

        Args:
            call: runs the network on these items of the batch; returns a tensor whose first axis is the items.
            items: of the whole batch.
            refusal: the sentence of the OutOfMemory that is raised when the items do not fit one by one either.
        """
        parts = None if self.begun else self._attempt(call, [slice(None)])
        if parts is None:
            if not self.begun:
                self.begun = True
                self.release()
                self.tell(_said(items))
            parts = self._attempt(call, [slice(i, i + 1) for i in range(items)])
        if parts is None:
            raise OutOfMemory(refusal())
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attempt(self, call, parts: list[slice]) -> list[torch.Tensor] | None:
        try:
            return [call(part) for part in parts]
        except RuntimeError as error:
            if not self.is_oom(error):
                raise
        # Only here, behind the handler, are the frames of the failed call and their tensors gone.
        return None


def _said(items: int) -> str:
    if items == 1:
        return "The network ran out of memory; unused memory is freed and the same call is tried once more."
    return (
        f"The network ran out of memory with {items} items at once; unused memory is freed and the items (positive and "
        "negative prompt, clips of a batch) run one after another from here on."
    )


def does_not_fit(size: LatentSize, patch: PatchSize, patches: Iterable[PatchSize], more: tuple[str, ...] = ()) -> str:
    """The sentence for a clip whose single item does not fit; ``patches`` could be had, ``more`` are further cures."""
    clip = "a picture" if size.frames == 1 else f"{size.pixel_frames} frames"
    coarser = " or ".join(str(p) for p in patches if size.tokens(p) < size.tokens(patch))
    cures = ["fewer frames"] * (size.frames > 1) + ["a smaller size"]
    cures += [f"a coarser patch schedule ({coarser})"] * bool(coarser) + list(more)
    *first, last = cures
    return (
        f"The network ran out of memory at {size.width * VAE_SPACE}x{size.height * VAE_SPACE} and {clip} with patch "
        f"size {patch}, one item at a time; use {', '.join(first)}{' or ' * bool(first)}{last}."
    )
