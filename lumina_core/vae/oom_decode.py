"""Out of memory in the VAE: decoding and encoding continue in smaller tiles, in the core and in a host alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from ..runtime.devices import release_memory
from ..runtime.oom import is_out_of_memory
from ..shapes.latents import VAE_SPACE
from .codec import VideoVAE
from .tiling import SMALLEST

Stream = Callable[[int | None, int | None], Iterator[torch.Tensor]]
"""``stream(tile, overlap)``, both in latent pixels: the parts of a clip, such as ``VideoVAE.decode_stream`` gives."""


class TileFallback:
    """Streams of a VAE that halve their tiles when the device runs out of memory, and stay there for the next clip.

    Args:
        tile: side of the tiles to begin with, in latent pixels; None for whole frames.
        overlap: of the tiles, in latent pixels; None for a quarter of their side.
        smallest: side in latent pixels below which nothing is tried.
        release: gives back memory that nothing needs any more.
        warn: is given one sentence at the first failure.
        is_oom: which errors mean that no memory is left.
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
        """The parts of a stream; after a failure it starts again in smaller tiles and gives the parts still missing.

        Args:
            stream: makes the parts; called again with each tile.
            sides: height and width of the clip, in latent pixels.

        Raises:
            the device's own error, where the smallest tile does not fit either.
        """
        given = 0
        while True:
            for number, part in enumerate(self._until_full(stream, sides)):
                if part is None:
                    break
                if number >= given:
                    given += 1
                    yield part
            else:
                return
            self._shrink(sides)

    def _until_full(self, stream: Stream, sides: Sequence[int]) -> Iterator[torch.Tensor | None]:
        """The parts of the clip, and None where there is no memory for the next one but a smaller tile is left."""
        overlap = self.overlap if self.overlap is None or self.tile is None else min(self.overlap, self.tile // 2)
        try:
            yield from stream(self.tile, overlap)
            return
        except Exception as error:
            if not self.is_oom(error) or self._next(sides) < self.smallest:
                raise
        # Only here, after the handler, are the tensors of the failed call gone.
        yield None

    def _next(self, sides: Sequence[int]) -> int:
        return min(self.tile or max(sides), max(sides)) // 2

    def _shrink(self, sides: Sequence[int]) -> None:
        self.tile = self._next(sides)
        if not self._warned:
            self.warn(
                f"The VAE ran out of memory and continues in tiles of {self.tile * VAE_SPACE} pixels; their seams may "
                "be faintly visible."
            )
        self._warned = True
        self.release()


def decode_stream(
    vae: VideoVAE, latents: torch.Tensor, tile: int | None, warn: Callable[[str], object]
) -> Iterator[torch.Tensor]:
    """As ``VideoVAE.decode_stream``, with a ``TileFallback``.

    Args:
        latents: (1, C, n, h, w).
        tile: side in latent pixels, None for whole frames.
        warn: is given one sentence at the first failure.
    """
    fallback = TileFallback(tile, release=partial(release_memory, vae.device), warn=warn)
    return fallback.parts(partial(vae.decode_stream, latents), latents.shape[-2:])
