"""Handles running out of memory in the VAE: decoding and encoding continue in smaller tiles, here and in ComfyUI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from ..runtime.devices import release_memory
from ..runtime.oom import is_out_of_memory
from ..shapes.latents import VAE_SPACE
from .codec import VideoVAE
from .tiling import SMALLEST

# ``stream(tile, overlap)``, both in latent pixels, yields the parts of a clip, such as ``VideoVAE.decode_stream``.
Stream = Callable[[int | None, int | None], Iterator[torch.Tensor]]


class TileFallback:
    """Halves the tiles of a VAE when the device runs out of memory, and keeps the smaller tiles for the next clips.

    Args:
        tile: side of the first tiles in latent pixels; None for whole frames.
        overlap: of the tiles, in latent pixels; None for a quarter of their side.
        smallest: smallest side to try, in latent pixels.
        release: frees unused memory of the device.
        warn: called with one sentence the first time the tiles shrink.
        is_oom: whether an error means that the device is out of memory.
    """

    def __init__(
        self,
        tile: int | None,
        overlap: int | None = None,
        *,
        smallest: int = SMALLEST,
        release: Callable[[], object],
        warn: Callable[[str], object],
        is_oom: Callable[[BaseException], bool] = is_out_of_memory,
    ):
        self.tile, self.overlap, self.smallest = tile, overlap, smallest
        self.release, self.warn, self.is_oom = release, warn, is_oom
        self._warned = False

    def parts(self, stream: Stream, sides: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yield the parts of a stream. When out of memory, restart it with smaller tiles at the next part.

        Args:
            stream: called again with each tile size.
            sides: height and width of the clip in latent pixels.

        Raises:
            Exception: the error of the device, if the smallest tile does not fit either.
        """
        yielded = 0
        while True:
            for number, part in enumerate(self._until_oom(stream, sides)):
                if part is None:
                    break
                if number >= yielded:
                    yielded += 1
                    yield part
            else:
                return
            self._shrink(sides)

    def _until_oom(self, stream: Stream, sides: Sequence[int]) -> Iterator[torch.Tensor | None]:
        """The parts of the clip, then None if memory ran out and a smaller tile can be tried."""
        overlap = self.overlap if self.overlap is None or self.tile is None else min(self.overlap, self.tile // 2)
        try:
            yield from stream(self.tile, overlap)
            return
        except Exception as error:
            if not self.is_oom(error) or self._halved(sides) < self.smallest:
                raise
        # Outside of the handler, because the exception keeps the tensors of the failed call alive.
        yield None

    def _halved(self, sides: Sequence[int]) -> int:
        return min(self.tile or max(sides), max(sides)) // 2

    def _shrink(self, sides: Sequence[int]) -> None:
        self.tile = self._halved(sides)
        if not self._warned:
            self.warn(
                f"The VAE ran out of memory and continues in tiles of {self.tile * VAE_SPACE} pixels; faint seams may "
                "be visible."
            )
        self._warned = True
        self.release()


def decode_stream(
    vae: VideoVAE, latents: torch.Tensor, tile: int | None, warn: Callable[[str], object]
) -> Iterator[torch.Tensor]:
    """``VideoVAE.decode_stream`` with a ``TileFallback``.

    Args:
        vae: the decoder.
        latents: (1, C, n, h, w).
        tile: side of the tiles in latent pixels; None for whole frames.
        warn: called with one sentence the first time the tiles shrink.

    Returns:
        An iterator of frames (f, H, W, 3) in 0..1.
    """
    fallback = TileFallback(tile, release=partial(release_memory, vae.device), warn=warn)
    return fallback.parts(partial(vae.decode_stream, latents), latents.shape[-2:])
