"""Latents to frames and back: a video VAE, streamed over time so that memory does not grow with the clip.

Source: `generate.py` of Lumina-Video for the scale; diffusers' AutoencoderKLCogVideoX for the network and for the
batches of two latent frames, which decide the result (its normalisation runs over one batch) and are kept exactly.
"""

from collections.abc import Iterator

import torch

from ..errors import LuminaError
from ..shapes.latents import VAE_SPACE, LatentSize
from .tiling import Blend, Tile, cut, cut_frames, plan_tiles

SCALE = 1.15258426  # the network's latents are the VAE's times this
LATENT_BATCH = 2  # latent frames that the VAE was trained to take at a time
FRAME_BATCH = 8


def latent_count(frames: int) -> int:
    """Latent frames that `frames` encode to. Raises LuminaError unless frames is 8k or 8k + 1."""
    if frames < 1 or frames % FRAME_BATCH > 1:
        below = frames - frames % FRAME_BATCH
        raise LuminaError(
            f"The clip has {frames} frames, expected a multiple of 8 or one more; "
            f"cut it to {max(below + 1, 1)} or extend it to {below + FRAME_BATCH}."
        )
    return frames // 4 + frames % FRAME_BATCH


class VideoVAE:
    """Scaled latents (1, C, n, h, w) <-> frames (f, 8h, 8w, 3) in 0..1 on the CPU. Made by `vae.load_video_vae`."""

    def __init__(self, module: torch.nn.Module, scale: float = SCALE) -> None:
        self.module = module
        self.scale = scale  # 1 for a caller whose latents are the VAE's own

    @property
    def channels(self) -> int:
        """C: 16 in the VAE of CogVideoX-2b."""
        return self.module.config.latent_channels

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    def decode_stream(
        self, latents: torch.Tensor, tile: int | None = None, overlap: int | None = None
    ) -> Iterator[torch.Tensor]:
        """Decode as the caller asks for frames; each item is (f, H, W, 3) float32 in 0..1, f mostly 8.

        latents: (1, C, n, h, w) as sampled (scaled). tile: side of a square tile in latent pixels, None for the whole
        picture; overlap: latent pixels shared by neighbours, default a quarter of the tile. Tiles cost some accuracy
        (each is normalised for itself) and save memory; they always run over the full time.
        Raises LuminaError for wrong shapes or values at once, and for frames that are not finite while decoding.
        """
        _check_latents(latents, self.channels)
        tiles = plan_tiles(latents.shape[-2], latents.shape[-1], tile, overlap)
        return self._stream(latents, tiles)

    def decode(self, latents: torch.Tensor, tile: int | None = None, overlap: int | None = None) -> torch.Tensor:
        """The whole clip (f, H, W, 3) float32 in 0..1 on the CPU; arguments and errors as `decode_stream`."""
        stream = self.decode_stream(latents, tile, overlap)
        size = LatentSize(*latents.shape[2:])
        frames = torch.empty(size.pixel_frames, size.height * VAE_SPACE, size.width * VAE_SPACE, 3)
        start = 0
        for chunk in stream:
            frames[start : start + len(chunk)] = chunk
            start += len(chunk)
        return frames

    def encode(self, frames: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Scaled latents (1, C, n, h, w), float32 on the CPU, of frames (f, H, W, 3) in 0..1, or of bytes.

        f is 8k or 8k + 1, H and W are multiples of 8. Without generator the mean of the posterior, with one a sample.
        """
        mean, log_variance = torch.cat(list(self.encode_stream(frames)), dim=2).chunk(2, dim=1)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator)
            mean = mean + noise * log_variance.clamp(-30, 20).mul(0.5).exp()
        return mean * self.scale

    def encode_stream(
        self, frames: torch.Tensor, tile: int | None = None, overlap: int | None = None
    ) -> Iterator[torch.Tensor]:
        """Encode as the caller asks; each item is the posterior (1, 2C, n, h, w) of a few frames, float32 on the CPU.

        Its first half is the mean, unscaled, its second the log variance. frames as in `encode`; tile and overlap as in
        `decode_stream`. Raises LuminaError for wrong shapes at once.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or any(side % VAE_SPACE for side in frames.shape[1:3]):
            raise LuminaError(
                f"The frames have shape {tuple(frames.shape)}, expected (frames, height, width, 3) with height and "
                "width multiples of 8; crop or resize them."
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
                latents = self._run(self.module.encoder, pixels, caches, index)[0].float().cpu().permute(1, 2, 3, 0)
                if len(tiles) > 1:
                    blend.add(latents, tile)
            yield (blend.take() if len(tiles) > 1 else latents).permute(3, 0, 1, 2)[None]

    def _pixels(self, frames: torch.Tensor) -> torch.Tensor:
        """What the encoder takes, (1, 3, f, H, W) in -1..1, of a few frames."""
        pixels = frames.to(self.device)
        pixels = pixels.float().div_(255).to(self.dtype) if pixels.dtype == torch.uint8 else pixels.to(self.dtype)
        return pixels.mul(2).sub_(1).permute(3, 0, 1, 2)[None]

    def _run(self, half: torch.nn.Module, part: torch.Tensor, caches: list, index: int) -> torch.Tensor:
        """Encoder or decoder on one batch of one tile, which continues from (and renews) `caches[index]`."""
        result, cache = half(part, conv_cache=_moved(caches[index], self.device))
        # A waiting tile's cache would otherwise hold the memory that tiling is there to save.
        caches[index] = cache if len(caches) == 1 else _moved(cache, torch.device("cpu"))
        return result

    @torch.no_grad()
    def _stream(self, latents: torch.Tensor, tiles: list[Tile]) -> Iterator[torch.Tensor]:
        caches: list = [None] * len(tiles)
        blend = Blend(tiles, VAE_SPACE)
        for start, stop in _batches(latents.shape[2], LATENT_BATCH):
            batch = (latents[:, :, start:stop].to(self.device) / self.scale).to(self.dtype)
            for index, tile in enumerate(tiles):
                frames = _to_frames(self._run(self.module.decoder, cut(batch, tile), caches, index))
                if len(tiles) > 1:
                    blend.add(frames, tile)
            yield blend.take() if len(tiles) > 1 else frames


def _to_frames(decoded: torch.Tensor) -> torch.Tensor:
    """(1, 3, f, H, W) in -1..1 to (f, H, W, 3) in 0..1 on the CPU; float32 is changed in place."""
    frames = decoded[0].float()
    if not _is_finite(frames):
        raise LuminaError(
            f"The VAE decoded values that are not finite in {str(decoded.dtype).removeprefix('torch.')}; "
            "load the VAE in bfloat16 or float32, and check that the latents are finite."
        )
    return frames.add_(1.0).div_(2.0).clamp_(0.0, 1.0).permute(1, 2, 3, 0).cpu()


def _is_finite(values: torch.Tensor) -> bool:
    # isfinite() would make three tensors of this size.
    low, high = values.aminmax()
    return bool(low.isfinite() & high.isfinite())


def _batches(total: int, size: int) -> list[tuple[int, int]]:
    """Slices of `size`, the remainder merged into the first one (the order of diffusers; it carries the cache)."""
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
            "time, with the VAE that its network was trained with."
        )
    if not _is_finite(latents):
        raise LuminaError(
            "The latents hold values that are not finite; sample again with a lower guidance or another dtype."
        )
