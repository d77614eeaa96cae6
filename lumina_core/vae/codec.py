"""Video VAE: latents to frames and back, streamed over time so that memory does not grow with the clip.

Source: `generate.py` of Lumina-Video for the scale; diffusers' AutoencoderKLCogVideoX for the network and for the
chunks of two latent frames, which affect the result (its normalization runs over one chunk) and are kept exactly.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch

from ..errors import LuminaError
from ..shapes.latents import FRAME_BATCH, VAE_FRAMES, VAE_SPACE, LatentSize
from .tiling import Blend, Tile, cut, cut_frames, plan_tiles

SCALE = 1.15258426  # latents of the network = latents of the VAE * SCALE
LATENT_BATCH = FRAME_BATCH // VAE_FRAMES  # latent frames per chunk, as in diffusers


def latent_count(frames: int) -> int:
    """Number of latent frames that ``frames`` encode to.

    Raises:
        LuminaError: frames is not 8k or 8k + 1.
    """
    if frames < 1 or frames % FRAME_BATCH > 1:
        below = frames - frames % FRAME_BATCH
        raise LuminaError(
            f"The clip has {frames} frames, expected a multiple of 8 or one more; "
            f"cut it to {max(below + 1, 1)} or extend it to {below + FRAME_BATCH}.",
            field="frames",
            kind="value",
        )
    return frames // VAE_FRAMES + frames % FRAME_BATCH


class VideoVAE:
    """Scaled latents (1, C, n, h, w) <-> frames (f, 8h, 8w, 3) in 0..1 on the CPU. Created by ``load_video_vae``."""

    def __init__(self, module: torch.nn.Module, scale: float = SCALE) -> None:
        self.module = module
        self.scale = scale  # 1 for callers that use the VAE's own latents

    @property
    def channels(self) -> int:
        """C: 16 in the VAE of CogVideoX-2b."""
        return cast(Any, self.module).config.latent_channels

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.module.parameters()).dtype

    def decode_stream(
        self, latents: torch.Tensor, tile: int | None = None, overlap: int | None = None
    ) -> Iterator[torch.Tensor]:
        """Decode lazily; each chunk is (f, H, W, 3) float32 in 0..1, f mostly 8.

        Tiles save memory and change the result slightly, because each is normalized on its own. They always cover the
        full time.

        Args:
            latents: (1, C, n, h, w) as sampled (scaled).
            tile: side of a square tile in latent pixels, None for whole frames.
            overlap: latent pixels shared by adjacent tiles, a quarter of the tile by default.

        Raises:
            LuminaError: wrong shapes or values, at once; frames that are not finite, while decoding.
        """
        _check_latents(latents, self.channels)
        tiles = plan_tiles(latents.shape[-2], latents.shape[-1], tile, overlap)
        return self._stream(latents, tiles)

    def decode(self, latents: torch.Tensor, tile: int | None = None, overlap: int | None = None) -> torch.Tensor:
        """The whole clip (f, H, W, 3) float32 in 0..1 on the CPU; arguments and errors as in ``decode_stream``."""
        stream = self.decode_stream(latents, tile, overlap)
        size = LatentSize(*latents.shape[2:])
        frames = torch.empty(size.pixel_frames, size.height * VAE_SPACE, size.width * VAE_SPACE, 3)
        start = 0
        for chunk in stream:
            frames[start : start + len(chunk)] = chunk
            start += len(chunk)
        return frames

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Encode a whole clip.

        Args:
            frames: (f, H, W, 3), float in 0..1 or uint8. f is 8k or 8k + 1, H and W are multiples of 8.

        Returns:
            Scaled latents (1, C, n, h, w), float32 on the CPU: the mean of the posterior.

        Raises:
            LuminaError: wrong shapes.
        """
        mean, _ = torch.cat(list(self.encode_stream(frames)), dim=2).chunk(2, dim=1)
        return mean * self.scale

    def encode_stream(
        self, frames: torch.Tensor, tile: int | None = None, overlap: int | None = None
    ) -> Iterator[torch.Tensor]:
        """Encode lazily; each chunk is the posterior (1, 2C, n, h, w) of a few frames, float32 on the CPU.

        The first half of its channels is the unscaled mean, the second the log variance.

        Args:
            frames: as in ``encode``.
            tile, overlap: as in ``decode_stream``.

        Raises:
            LuminaError: wrong shapes, at once.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or any(side % VAE_SPACE for side in frames.shape[1:3]):
            raise LuminaError(
                f"The frames have shape {tuple(frames.shape)}, expected (frames, height, width, 3) with height and "
                "width multiples of 8; crop or resize them.",
                field="frames",
                kind="value",
            )
        latent_count(len(frames))
        tiles = plan_tiles(frames.shape[1] // VAE_SPACE, frames.shape[2] // VAE_SPACE, tile, overlap)
        return self._encode_stream(frames, tiles)

    @torch.no_grad()
    def _encode_stream(self, frames: torch.Tensor, tiles: list[Tile]) -> Iterator[torch.Tensor]:
        caches: list = [None] * len(tiles)
        blend = Blend(tiles, 1)
        for start, stop in _batches(len(frames), FRAME_BATCH):
            for index, tile in enumerate(tiles):
                pixels = self._pixels(cut_frames(frames[start:stop], tile, VAE_SPACE))
                latents = self._run(self._half("encoder"), pixels, caches, index)[0].float().cpu().permute(1, 2, 3, 0)
                if len(tiles) > 1:
                    blend.add(latents, tile)
            yield (blend.take() if len(tiles) > 1 else latents).permute(3, 0, 1, 2)[None]

    def _pixels(self, frames: torch.Tensor) -> torch.Tensor:
        """The encoder's input (1, 3, f, H, W) in -1..1."""
        pixels = frames.to(self.device)
        pixels = pixels.float().div_(255).to(self.dtype) if pixels.dtype == torch.uint8 else pixels.to(self.dtype)
        return pixels.mul(2).sub_(1).permute(3, 0, 1, 2)[None]

    def _half(self, name: str) -> torch.nn.Module:
        return cast(torch.nn.Module, getattr(self.module, name))

    def _run(self, half: torch.nn.Module, part: torch.Tensor, caches: list, index: int) -> torch.Tensor:
        """Run encoder or decoder on one chunk of one tile, continuing from and updating ``caches[index]``."""
        result, cache = half(part, conv_cache=_moved(caches[index], self.device))
        # Caches of waiting tiles would otherwise use the memory that tiling saves.
        caches[index] = cache if len(caches) == 1 else _moved(cache, torch.device("cpu"))
        return result

    @torch.no_grad()
    def _stream(self, latents: torch.Tensor, tiles: list[Tile]) -> Iterator[torch.Tensor]:
        caches: list = [None] * len(tiles)
        blend = Blend(tiles, VAE_SPACE)
        for start, stop in _batches(latents.shape[2], LATENT_BATCH):
            batch = (latents[:, :, start:stop].to(self.device) / self.scale).to(self.dtype)
            for index, tile in enumerate(tiles):
                frames = _to_frames(self._run(self._half("decoder"), cut(batch, tile), caches, index))
                if len(tiles) > 1:
                    blend.add(frames, tile)
            yield blend.take() if len(tiles) > 1 else frames


def _to_frames(decoded: torch.Tensor) -> torch.Tensor:
    """(1, 3, f, H, W) in -1..1 to (f, H, W, 3) in 0..1 on the CPU; float32 input is modified in place."""
    frames = decoded[0].float()
    if not _is_finite(frames):
        raise LuminaError(
            f"The VAE decoded NaN or infinite values in {str(decoded.dtype).removeprefix('torch.')}; load the VAE in "
            "bfloat16 or float32, and check that the latents are finite.",
            field="vae",
            kind="numerics",
        )
    return frames.add_(1.0).div_(2.0).clamp_(0.0, 1.0).permute(1, 2, 3, 0).cpu()


def _is_finite(values: torch.Tensor) -> bool:
    # isfinite() would allocate three tensors of this size.
    low, high = values.aminmax()
    return bool(low.isfinite() & high.isfinite())


def _batches(total: int, size: int) -> list[tuple[int, int]]:
    """Slices of ``size``, with the remainder merged into the first one, as in diffusers."""
    rest = total % size
    first = min(total, size + rest)
    return [(0, first)] + [(start, start + size) for start in range(first, total, size)]


def _moved(cache, device: torch.device):
    """A conv cache (nested dicts of tensors or None) on `device`."""
    if isinstance(cache, dict):
        return {key: _moved(value, device) for key, value in cache.items()}
    return cache if cache is None else cache.to(device)


def _check_latents(latents: torch.Tensor, channels: int) -> None:
    shape = tuple(latents.shape)
    if len(shape) != 5 or shape[:2] != (1, channels) or min(shape) < 1:
        raise LuminaError(
            f"The latents have shape {shape}, expected (1, {channels}, frames, height, width); decode one clip at a "
            "time, with the VAE that the network was trained with.",
            field="latents",
            kind="mismatch",
        )
    if not _is_finite(latents):
        raise LuminaError(
            "The latents contain NaN or infinite values; sample again with a lower guidance scale or another dtype.",
            field="latents",
            kind="numerics",
        )
