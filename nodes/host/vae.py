"""A video VAE as a native VAE that decodes a few frames at a time. CogVideoX's gives the frames of diffusers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import comfy.model_management
import comfy.sd
import comfy.utils
import torch

from ...lumina_core.checkpoints.detect import VIDEO_VAE
from ...lumina_core.cost.memory import COMPACT_DECODE_PEAK, COMPACT_ENCODE_PEAK, DECODE_PEAK, ENCODE_PEAK
from ...lumina_core.errors import LuminaError
from ...lumina_core.shapes.latents import FRAME_BATCH, VAE_FRAMES, VAE_SPACE, LatentSize
from ...lumina_core.vae.codec import LATENT_BATCH, VideoVAE
from ...lumina_core.vae.compact import CompactVAE
from ...lumina_core.vae.loader import load_video_vae
from ...lumina_core.vae.oom_decode import TileFallback
from .model_files import model_files
from .oom import is_oom
from .patcher import WholePatcher

logger = logging.getLogger(__name__)

DEFAULT_TILE = 32  # side in latent pixels
SMALLEST_TILE = 16  # side in latent pixels; below it the overlaps cost more than the tiles save


class VAENetwork(torch.nn.Module):
    """Wraps the diffusers module, whose `device` the host cannot set."""

    def __init__(self, vae: torch.nn.Module) -> None:
        super().__init__()
        self.vae = vae


class LuminaVideoVAE(comfy.sd.VAE):
    """Streamed decode and encode with the host's memory management. Latents are unscaled; the MODEL scales them.

    Args:
        path: the weights; see ``load_video_vae``.

    Raises:
        LuminaError: the file is missing, damaged or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        # The host's own constructor detects the network by its weights, and has none that matches this one exactly.
        self._set_host_attributes()
        self.device = comfy.model_management.vae_device()
        self.vae_dtype = comfy.model_management.vae_dtype(self.device, self.working_dtypes)
        self.output_device = comfy.model_management.intermediate_device()
        offload = comfy.model_management.vae_offload_device()
        self.codec = VideoVAE(load_video_vae(path, offload, self.vae_dtype).module, scale=1.0)
        self.first_stage_model = VAENetwork(self.codec.module)
        self.latent_channels = self.codec.channels
        compact = isinstance(self.codec.module, CompactVAE)
        self.decode_peak, self.encode_peak = (
            (COMPACT_DECODE_PEAK, COMPACT_ENCODE_PEAK) if compact else (DECODE_PEAK, ENCODE_PEAK)
        )
        self.size = comfy.model_management.module_size(self.first_stage_model)
        self.patcher = WholePatcher(self.first_stage_model, load_device=self.device, offload_device=offload)

    def _set_host_attributes(self) -> None:
        """Attributes of a VAE that the host and other nodes read."""
        self.latent_dim = 3
        self.output_channels = 3
        self.upscale_ratio = (lambda n: LatentSize(n, 1, 1).pixel_frames, VAE_SPACE, VAE_SPACE)
        self.downscale_ratio = (lambda frames: max(1, (frames + VAE_FRAMES - 1) // VAE_FRAMES), VAE_SPACE, VAE_SPACE)
        self.upscale_index_formula = (VAE_FRAMES, VAE_SPACE, VAE_SPACE)
        self.downscale_index_formula = (VAE_FRAMES, VAE_SPACE, VAE_SPACE)
        self.memory_used_decode = lambda shape, dtype: (
            self.decode_peak * shape[-2] * shape[-1] * VAE_SPACE**2 * comfy.model_management.dtype_size(dtype)
        )
        self.memory_used_encode = lambda shape, dtype: (
            self.encode_peak * shape[-2] * shape[-1] * comfy.model_management.dtype_size(dtype)
        )
        self.working_dtypes = [torch.bfloat16, torch.float32]
        self.process_input = lambda pixels: pixels * 2.0 - 1.0
        self.process_output = lambda pixels: ((pixels + 1.0) / 2.0).clamp(0.0, 1.0)
        self.disable_offload = True
        self.not_video = False
        self.handles_tiling = False
        self.crop_input = True
        self.pad_channel_value = None
        self.extra_1d_channel = None
        self.format_encoded = None
        self.audio_sample_rate = 44100

    def decode(self, samples_in, vae_options=None):
        """Decode latents (B, C, n, h, w) to (B, F, 8h, 8w, 3) in 0..1, in spatial tiles if memory is short."""
        _check_latents(samples_in, self.latent_channels)
        return self._decode(samples_in, self._largest_tile(self.decode_peak, samples_in.shape[-2:]), None)

    def decode_tiled(self, samples, tile_x=None, tile_y=None, overlap=None, tile_t=None, overlap_t=None):
        """Like `decode`, in square tiles (sides in latent pixels). Time is not split, which would change the result."""
        _check_latents(samples, self.latent_channels)
        tile = min(tile_x or DEFAULT_TILE, tile_y or DEFAULT_TILE)
        return self._decode(samples, tile, overlap)

    def encode(self, pixel_samples):
        """Encode (F, H, W, 3) or (B, F, H, W, 3) in 0..1 to (B, C, n, h, w), the mean of the posterior.

        H and W are cropped to multiples of 8. Raises LuminaError unless F is 8k or 8k + 1.
        """
        clips = self._clips(pixel_samples)
        return self._encode(clips, self._largest_tile(self.encode_peak, _latent_sides(clips[0])), None)

    def encode_tiled(self, pixel_samples, tile_x=None, tile_y=None, overlap=None, tile_t=None, overlap_t=None):
        """Like `encode`, in square tiles with sides in pixels. Time is not split."""
        tile = min(tile_x or DEFAULT_TILE * VAE_SPACE, tile_y or DEFAULT_TILE * VAE_SPACE) // VAE_SPACE
        return self._encode(self._clips(pixel_samples), tile, None if overlap is None else overlap // VAE_SPACE)

    def get_sd(self):
        """The weights by name."""
        return self.codec.module.state_dict()

    def _clips(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return [self.vae_encode_crop_pixels(clip[..., :3]) for clip in (pixels if pixels.ndim == 5 else pixels[None])]

    def _decode(self, latents: torch.Tensor, tile: int, overlap: int | None) -> torch.Tensor:
        size = LatentSize(*latents.shape[2:])
        shape = (len(latents), size.pixel_frames, size.height * VAE_SPACE, size.width * VAE_SPACE, 3)
        frames = torch.empty(shape, device=self.output_device, dtype=_output_dtype())
        bar = comfy.utils.ProgressBar(len(latents) * max(1, size.frames // LATENT_BATCH))
        fallback = _fallback(tile, overlap)
        for clip, out in zip(latents.split(1), frames, strict=True):
            sides, start = latents.shape[-2:], 0
            for chunk in fallback.parts(self._stream(self.codec.decode_stream, clip, self.decode_peak, sides), sides):
                out[start : start + len(chunk)] = chunk
                start += len(chunk)
                bar.update(1)
        return frames

    def _encode(self, clips: list[torch.Tensor], tile: int, overlap: int | None) -> torch.Tensor:
        bar = comfy.utils.ProgressBar(len(clips) * max(1, len(clips[0]) // FRAME_BATCH))
        fallback, latents = _fallback(tile, overlap), []
        for clip in clips:
            sides, parts = _latent_sides(clip), []
            for part in fallback.parts(self._stream(self.codec.encode_stream, clip, self.encode_peak, sides), sides):
                parts.append(part)
                bar.update(1)
            latents.append(torch.cat(parts, dim=2).chunk(2, dim=1)[0])
        return torch.cat(latents).to(self.output_device, _output_dtype())

    def _stream(self, run: Callable[..., Iterator[torch.Tensor]], clip: torch.Tensor, peak: int, sides: Sequence[int]):
        """The function that a ``TileFallback`` calls: frees memory for the tiles, runs, and checks for interrupts."""

        def stream(tile: int | None, overlap: int | None) -> Iterator[torch.Tensor]:
            self._make_room(peak, sides, tile)
            for part in run(clip, tile, overlap):
                comfy.model_management.throw_exception_if_processing_interrupted()
                yield part

        return stream

    def _largest_tile(self, peak: int, sides: Sequence[int]) -> int:
        """Side of the largest tile that fits the device: the whole frame, or a half, a quarter, ... of it."""
        whole = tile = max(sides)
        self._make_room(peak, sides, tile)
        free = comfy.model_management.get_free_memory(self.device)
        # Trying and failing is no substitute: some drivers swap instead, and a CPU shares its memory with others.
        while self._memory(peak, sides, tile) > free and tile // 2 >= SMALLEST_TILE:
            tile //= 2
        if tile < whole:
            logger.warning(
                "Lumina-Video VAE: not enough memory for whole frames, using tiles of %d pixels.", tile * VAE_SPACE
            )
        return tile

    def _make_room(self, peak: int, sides: Sequence[int], tile: int | None) -> None:
        memory = self._memory(peak, sides, tile)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory, force_full_load=True)

    def _memory(self, peak: int, sides: Sequence[int], tile: int | None) -> int:
        """Peak memory in bytes of one tile of a frame with these sides (latent pixels); None is the whole frame."""
        height, width = (side if tile is None else min(side, tile) for side in sides)
        pixels = height * width * VAE_SPACE**2
        return peak * pixels * comfy.model_management.dtype_size(self.vae_dtype)


def vae_files() -> list[str]:
    """Names of the .safetensors files in models/vae that may be a VAE of Lumina-Video."""
    return [name for name in model_files(VIDEO_VAE, "vae") if name.endswith(".safetensors")]


def load_vae(path: str | Path) -> LuminaVideoVAE:
    """Load weights for `lumina_core.vae.loader.load_video_vae` as a native VAE. Raises LuminaError."""
    return LuminaVideoVAE(path)


def _latent_sides(clip: torch.Tensor) -> tuple[int, int]:
    return clip.shape[1] // VAE_SPACE, clip.shape[2] // VAE_SPACE


def _fallback(tile: int, overlap: int | None) -> TileFallback:
    return TileFallback(
        tile,
        overlap,
        smallest=SMALLEST_TILE,
        release=comfy.model_management.soft_empty_cache,
        warn=lambda sentence: logger.warning("Lumina-Video: %s", sentence),
        is_oom=is_oom,
    )


def _output_dtype() -> torch.dtype:
    newer = getattr(comfy.model_management, "intermediate_dtype", None)
    return newer() if newer else torch.float32


def _check_latents(latents: torch.Tensor, channels: int) -> None:
    shape = tuple(latents.shape)
    if len(shape) != 5 or shape[1] != channels or min(shape) < 1:
        raise LuminaError(
            f"samples have shape {shape}, expected (batch, {channels}, frames, height, width); use latents of "
            "Lumina-Video and the VAE of the same model.",
            field="samples",
            kind="mismatch",
        )
