"""Decoding that falls back to tiles, once, when the device has no memory left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from ..runtime.devices import release_memory
from ..runtime.oom import is_out_of_memory
from ..shapes.latents import VAE_SPACE
from .codec import VideoVAE
from .tiling import SMALLEST


def decode_stream(
    vae: VideoVAE, latents: torch.Tensor, tile: int | None, tell: Callable[[str], None]
) -> Iterator[torch.Tensor]:
    """As ``VideoVAE.decode_stream``; out of memory without tiles, it goes on in tiles from the frames that are missing.

    tell: is given one sentence then. Raises the device's own error where tiles were asked for or do not fit either.
    """
    given = 0
    for part in _until_full(vae, latents, tile):
        if part is None:
            break
        given += 1
        yield part
    else:
        return
    release_memory(vae.device)
    smaller = max(SMALLEST, min(latents.shape[-2:]) // 2)
    tell(
        f"The VAE ran out of memory; unused memory is freed and it goes on in tiles of {smaller * VAE_SPACE} pixels, "
        "whose seams may show faintly."
    )
    for number, part in enumerate(vae.decode_stream(latents, smaller)):
        if number >= given:
            yield part


def _until_full(vae: VideoVAE, latents: torch.Tensor, tile: int | None) -> Iterator[torch.Tensor | None]:
    """The parts of the clip, and None when there is no memory for the next one."""
    try:
        yield from vae.decode_stream(latents, tile)
    except RuntimeError as error:
        if tile is not None or not is_out_of_memory(error):
            raise
    else:
        return
    # Only here, behind the handler, are the tensors of the failed call gone.
    yield None
