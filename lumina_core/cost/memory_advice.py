"""What would fit where a run does not: the smallest sacrifice first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ..errors import LuminaError
from ..shapes.latents import VAE_FRAMES, VAE_SPACE, LatentSize
from .budget import fitting
from .memory import GIB, MemoryPlan, RunSpec, memory_plan

CARD_RESERVE = GIB
"""Of a card's memory, what is left to its driver, the desktop and the allocator. An assumption, not a measurement."""
TILES = (32, 16)
"""Sides of the decoder's tiles in latent pixels; the larger is tried first."""
_SIDE = 4
"""Sides are multiples of so many latent pixels, which every patch size divides."""


def in_gib(count: int) -> str:
    """Bytes in words, such as ``4.3 GiB``."""
    return f"{count / GIB:.1f} GiB"


def room_on(device: torch.device) -> int | None:
    """Bytes that a run may use: free ones of a CUDA GPU, all of a CPU's main memory, None where it is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    if device.type == "cpu" and all(name in getattr(os, "sysconf_names", {}) for name in names):
        return os.sysconf(names[0]) * os.sysconf(names[1])
    return None


def check_room(run: RunSpec, device: torch.device, room: int | None) -> str | None:
    """A warning where a run that cannot offload is too large for a device whose memory is shared or swapped.

    Raises LuminaError on a CUDA GPU when the run does not fit even with guidance in two passes, which is what an
    out-of-memory falls back to.
    """
    if room is None or memory_plan(replace(run, split=True)).fits(room):
        return None
    sentence = advice(run, room, offload=False)
    if sentence is not None and device.type == "cuda":
        raise LuminaError(sentence)
    return sentence


def advice(run: RunSpec, room: int, offload: bool = True) -> str | None:
    """A sentence on what fits ``room`` bytes where ``run`` does not, None where it does.

    Tried in this order: tiles for the decoder where it alone is too large, offloaded weights, guidance in two passes, a
    coarser patch size throughout, fewer frames, a smaller picture; each on top of what went before.

    Args:
        offload: whether the caller can offload weights.
    """
    needed = memory_plan(run)
    if needed.fits(room):
        return None
    found = smaller(run, room, offload)
    lack = f"This run needs {in_gib(needed.total)} and there are {in_gib(room)}"
    if found is None:
        return f"{lack}; nothing smaller fits, so use a device with more memory."
    return f"{lack}; it fits with {found.words} ({in_gib(found.plan.total)})."


@dataclass(frozen=True)
class Smaller:
    """A run that fits: its change in words, its memory, and whether it ``gives_up`` patch sizes, frames or pixels."""

    words: str
    plan: MemoryPlan
    gives_up: bool


def smaller(run: RunSpec, room: int, offload: bool = True) -> Smaller | None:
    """The first change of ``run`` that fits ``room`` bytes; None where none does."""
    for words, changed in _changes(run, room, offload):
        plan = memory_plan(changed)
        if plan.fits(room):
            return Smaller(", ".join(words), plan, (changed.plan, changed.size) != (run.plan, run.size))
    return None


def _changes(run: RunSpec, room: int, offload: bool) -> Iterator[tuple[list[str], RunSpec]]:
    words = []
    if run.tile is None and memory_plan(run).decoding > room:
        tiled = [replace(run, tile=tile) for tile in TILES]
        run = next((less for less in tiled if memory_plan(less).decoding <= room), tiled[-1])
        words = [f"decoding in tiles of {run.tile} latent pixels"]
        yield words, run
    if offload and not run.offload:
        run = replace(run, offload=True)
        words = [*words, "weights offloaded to main memory"]
        yield words, run
    if not run.split:
        run = replace(run, split=True)
        words = [*words, "guidance in two passes"]
        yield words, run
    for change, less in (*_coarser(run), *_shorter(run), *_lower(run)):
        yield [*words, change], less


def _coarser(run: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    finest = max(map(run.size.tokens, run.plan.patches))
    for patch in sorted(fitting(run.size, run.config), key=run.size.tokens, reverse=True):
        if run.size.tokens(patch) < finest:
            yield f"patch size {patch} throughout", replace(run, plan=run.plan.replace(patch=patch))


def _shorter(run: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    size = run.size
    for frames in range((size.frames - 1) // 2 * 2, 0, -2):
        yield f"{frames * VAE_FRAMES} frames", replace(run, size=LatentSize(frames, size.height, size.width))


def _lower(run: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    """The picture in its shape, ever smaller, with all its frames."""
    size = run.size
    for width in range((size.width - 1) // _SIDE * _SIDE, 0, -_SIDE):
        height = max(_SIDE, round(size.height * width / size.width / _SIDE) * _SIDE)
        less = replace(run, size=LatentSize(size.frames, height, width))
        try:
            run.config.check_size(less.size, run.plan.patches)
        except LuminaError:
            continue
        yield f"{width * VAE_SPACE}x{height * VAE_SPACE} pixels", less
