"""Suggests changes that make a run fit into memory, those with the least effect on the result first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ..errors import LuminaError
from ..shapes.latents import COARSEST_SIDE, VAE_FRAMES, VAE_SPACE, LatentSize
from .budget import fitting
from .memory import GIB, MemoryPlan, RunSpec, memory_plan

# Part of a GPU's memory that is left to its driver, the desktop and the allocator. An assumption, not a measurement.
CARD_RESERVE = GIB
# Sides of the decoder's tiles in latent pixels, in the order in which they are tried.
TILES = (32, 16)


def in_gib(count: int) -> str:
    """A number of bytes as text, such as ``4.3 GiB``."""
    return f"{count / GIB:.1f} GiB"


def available_memory(device: torch.device) -> int | None:
    """Bytes that a run may use: free memory of a CUDA GPU, or total main memory of a CPU; None if it is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    if device.type == "cpu" and all(name in getattr(os, "sysconf_names", {}) for name in names):
        return os.sysconf(names[0]) * os.sysconf(names[1])
    return None


def check_memory(run: RunSpec, device: torch.device, available: int | None) -> str | None:
    """Check a run that cannot offload weights, with batch size 1, to which an out-of-memory error falls back.

    Args:
        run: to check.
        device: of the run.
        available: bytes, None if not known.

    Returns:
        A warning if the run does not fit on a device whose memory is shared or swapped, else None.

    Raises:
        LuminaError: the run does not fit on a CUDA GPU.
    """
    if available is None or memory_plan(replace(run, split=True)).fits(available):
        return None
    message = advice(run, available, offload=False)
    if message is not None and device.type == "cuda":
        raise LuminaError(message, field="size", kind="resource")
    return message


def advice(run: RunSpec, available: int, offload: bool = True) -> str | None:
    """One sentence that names the first change with which ``run`` fits; None if it fits unchanged.

    Tried in this order: tiled decoding if decoding does not fit, weights offloaded to main memory, guidance in two
    passes, and on top of these a coarser constant patch schedule, fewer frames, or a smaller size.

    Args:
        run: to check.
        available: bytes.
        offload: whether the caller can offload weights.
    """
    needed = memory_plan(run)
    if needed.fits(available):
        return None
    found = smaller(run, available, offload)
    problem = f"This run needs {in_gib(needed.total)} and {in_gib(available)} are available"
    if found is None:
        return f"{problem}; nothing smaller fits, so use a device with more memory."
    return f"{problem}; it fits with {found.changes} ({in_gib(found.plan.total)})."


@dataclass(frozen=True)
class Smaller:
    """A changed run that fits.

    Args:
        changes: text that lists the changes.
        plan: memory of the changed run.
        gives_up: whether patch sizes, frames or pixels are reduced.
    """

    changes: str
    plan: MemoryPlan
    gives_up: bool


def smaller(run: RunSpec, available: int, offload: bool = True) -> Smaller | None:
    """The first change with which ``run`` fits, see ``advice``; None if no change is enough."""
    for changes, changed in _changes(run, available, offload):
        plan = memory_plan(changed)
        if plan.fits(available):
            return Smaller(", ".join(changes), plan, (changed.plan, changed.size) != (run.plan, run.size))
    return None


def _changes(run: RunSpec, available: int, offload: bool) -> Iterator[tuple[list[str], RunSpec]]:
    """Changes of a run as a list of texts, each with the changed run."""
    changes = []
    if run.tile is None and memory_plan(run).decoding > available:
        tiled = [replace(run, tile=tile) for tile in TILES]
        run = next((less for less in tiled if memory_plan(less).decoding <= available), tiled[-1])
        changes = [f"decoding in tiles of {run.tile} latent pixels"]
        yield changes, run
    if offload and not run.offload:
        run = replace(run, offload=True)
        changes = [*changes, "weights offloaded to main memory"]
        yield changes, run
    if not run.split:
        run = replace(run, split=True)
        changes = [*changes, "guidance in two passes"]
        yield changes, run
    for change, less in (*_coarser(run), *_shorter(run), *_lower(run)):
        yield [*changes, change], less


def _coarser(run: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    finest = max(map(run.size.tokens, run.plan.patches))
    for patch in sorted(fitting(run.size, run.config), key=run.size.tokens, reverse=True):
        if run.size.tokens(patch) < finest:
            yield f"a constant patch size {patch}", replace(run, plan=run.plan.replace(patch=patch))


def _shorter(run: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    size = run.size
    for frames in range((size.frames - 1) // 2 * 2, 0, -2):
        yield f"{frames * VAE_FRAMES} frames", replace(run, size=LatentSize(frames, size.height, size.width))


def _lower(run: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    """Smaller and smaller frames of the same aspect ratio."""
    size = run.size
    for width in range((size.width - 1) // COARSEST_SIDE * COARSEST_SIDE, 0, -COARSEST_SIDE):
        height = max(COARSEST_SIDE, round(size.height * width / size.width / COARSEST_SIDE) * COARSEST_SIDE)
        less = replace(run, size=LatentSize(size.frames, height, width))
        try:
            run.config.check_size(less.size, run.plan.patches)
        except LuminaError:
            continue
        yield f"{width * VAE_SPACE}x{height * VAE_SPACE} pixels", less
