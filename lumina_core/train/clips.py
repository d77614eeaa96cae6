"""Reads frames for encoding: clips at one frame rate, and images; both are cropped to a resolution bucket of the area.

Source: tools/pre_extract/pre_extract.py of Lumina-Video (which clips are used, and how many of their frames). That uses
4n + 1 frames; 8n + 1 are used here, so that every patch size divides the latent frames once the first is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..media.reader import frames_at, probe
from ..shapes.latents import FRAME_BATCH
from ..shapes.resolutions import area_sizes, nearest_size
from .crop import crop_to

# Minimum number of frames: two latent frames plus the first one, which is dropped.
MIN_FRAMES = FRAME_BATCH + 1
# Tolerance in frames: a clip of 15.85 frames counts as 16.
_TOLERANCE = 0.2


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """How files become frames.

    Args:
        size: side in pixels of a square with the area of the resolution buckets.
        fps: frame rate of the clips, above 0 and up to 1000.
        seconds: maximum length of a clip, from its beginning. (The official code encodes the whole clip and trains on
            a random 4 s of it; a larger value here together with a task's ``max_frames`` does the same.)
    """

    size: int = 256
    fps: float = 8.0
    seconds: float = 4.0

    def __post_init__(self) -> None:
        area_sizes(self.size)
        if not 0 < self.fps <= 1000:
            raise LuminaError(
                f"fps is {self.fps:g}, expected frames per second above 0 and up to 1000.", field="fps", kind="value"
            )
        if not self.seconds * self.fps + _TOLERANCE >= MIN_FRAMES - 1:
            raise LuminaError(
                f"seconds is {self.seconds:g}, expected {(MIN_FRAMES - 1) / self.fps:g} or more, which is two latent "
                f"frames at {self.fps:g} fps.",
                field="seconds",
                kind="value",
            )

    @property
    def max_frames(self) -> float:
        """Maximum number of frames, including the one whose latent frame is dropped; not rounded."""
        return self.seconds * self.fps + _TOLERANCE + 1


def read_clip(path: Path, settings: EncodeSettings) -> torch.Tensor:
    """Frames (8n + 1, height, width, 3) in 0..1 of a video, n at least 1, sampled every 1 / fps seconds.

    Raises LuminaError if the file cannot be read, has less than half of the frame rate, is too short, or is too small.
    """
    file = probe(path)
    if file.fps < settings.fps / 2:
        raise LuminaError(
            f"{path} has {file.fps:.4g} frames per second, expected at least {settings.fps / 2:g}, half of "
            f"{settings.fps:g} fps; remove it or encode at a lower fps.",
            field="fps",
            kind="mismatch",
        )
    check_area(path, file.width, file.height, settings.size)
    size = nearest_size(file.width, file.height, area_sizes(settings.size))
    count = int(min(file.seconds * settings.fps + _TOLERANCE, settings.max_frames))
    # Resized one at a time, because a minute of large frames may not fit in memory.
    frames = [crop_to(frame[None], size) for frame in frames_at(path, [i / settings.fps for i in range(count)])]
    used = len(frames) - (len(frames) - 1) % FRAME_BATCH
    if used < MIN_FRAMES:
        raise LuminaError(
            f"{path} has {len(frames)} frames at {settings.fps:g} fps, expected at least {MIN_FRAMES}; remove it or "
            "encode at a higher fps.",
            field="seconds",
            kind="mismatch",
        )
    return torch.cat(frames[:used]).float() / 255


def read_still(path: Path, settings: EncodeSettings) -> torch.Tensor:
    """An image file as one frame (1, height, width, 3) in 0..1, with EXIF rotation applied and on a white background.

    Raises LuminaError if the file cannot be read or is too small.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise LuminaError(f"Image {path} does not exist or is a folder; give a file.", field="data", kind="missing")
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGBA")
    # Pillow does not wrap the errors of its decoders.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise LuminaError(
            f"{path} cannot be read as an image ({error}); convert it, for example to .png.", field="data", kind="file"
        ) from error
    white = Image.new("RGBA", image.size, "white")
    pixels = _pixels(Image.alpha_composite(white, image).convert("RGB"))
    height, width = pixels.shape[:2]
    check_area(path, width, height, settings.size)
    return crop_to(pixels[None], nearest_size(width, height, area_sizes(settings.size))).float() / 255


def check_area(path: Path, width: int, height: int, side: int) -> None:
    """Check that a frame has at least the area of ``side`` x ``side`` pixels, so that it is not upscaled.

    Raises LuminaError.
    """
    if width * height < side**2:
        raise LuminaError(
            f"{path} has {width}x{height} pixels, expected the area of {side}x{side} or more; remove it or encode at a "
            "smaller size.",
            field="size",
            kind="mismatch",
        )


def _pixels(image: Any) -> torch.Tensor:
    """A PIL image as (H, W, 3) uint8."""
    import numpy as np

    return torch.from_numpy(np.array(image))
