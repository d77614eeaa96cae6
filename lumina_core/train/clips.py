"""Frames to encode out of files: clips at one frame rate, pictures upright and on white, cut to a size of the area.

Source: tools/pre_extract/pre_extract.py of Lumina-Video (which clips are used, and how many frames of them). It makes
4n + 1 frames, this 8n + 1: without the first, every patch size divides the latent frames, as in every generated clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import LuminaError
from ..media.reader import frames_at, probe
from ..shapes.resolutions import area_sizes, nearest_size
from ..vae.codec import FRAME_BATCH
from .crop import crop_to

FEWEST = FRAME_BATCH + 1
"""Frames of a clip at least: two latent frames besides the first, which is dropped."""
_ROUNDING = 0.2
"""Frames that a clip may lack: 15.85 frames count as 16."""


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """How files become frames.

    Args:
        size: side in pixels of a square of the area that every picture is brought to.
        fps: frames per second of the clips.
        seconds: of a clip that are used at most, from its beginning. (Official: the whole clip is encoded and a random
            4 s of it are trained on; a higher number here and a task's max_frames do that.)
    """

    size: int = 256
    fps: float = 8.0
    seconds: float = 4.0

    def __post_init__(self) -> None:
        area_sizes(self.size)
        if not 0 < self.fps <= 1000:
            raise LuminaError(f"fps is {self.fps:g}, expected frames per second above 0 and up to 1000.")
        if not self.seconds * self.fps + _ROUNDING >= FEWEST - 1:
            raise LuminaError(
                f"seconds is {self.seconds:g}, expected {(FEWEST - 1) / self.fps:g} or more: a clip of two latent "
                f"frames at {self.fps:g} fps."
            )

    @property
    def most_frames(self) -> float:
        """Frames of a clip at most, with the one before the first latent frame that is kept."""
        return self.seconds * self.fps + _ROUNDING + 1


def read_clip(path: Path, settings: EncodeSettings) -> torch.Tensor:
    """Frames (8n + 1, height, width, 3) in 0..1 of a video, n at least 1: the nearest in time to every 1 / fps s.

    Raises LuminaError that names the file: cannot be read, too slow (below half of the fps), too short, too small.
    """
    file = probe(path)
    if file.fps < settings.fps / 2:
        raise LuminaError(
            f"{path} has {file.fps:.4g} frames per second, expected at least {settings.fps / 2:g}, half of "
            f"{settings.fps:g} fps; leave it out or encode at a lower fps."
        )
    check_area(path, file.width, file.height, settings.size)
    size = nearest_size(file.width, file.height, area_sizes(settings.size))
    count = int(min(file.seconds * settings.fps + _ROUNDING, settings.most_frames))
    # One at a time: a minute of large frames would not fit in memory before they are made small.
    frames = [crop_to(frame[None], size) for frame in frames_at(path, [i / settings.fps for i in range(count)])]
    used = len(frames) - (len(frames) - 1) % FRAME_BATCH
    if used < FEWEST:
        raise LuminaError(
            f"{path} gives {len(frames)} frames at {settings.fps:g} fps, expected at least {FEWEST}; leave it out or "
            "encode at a higher fps."
        )
    return torch.cat(frames[:used]).float() / 255


def read_picture(path: Path, settings: EncodeSettings) -> torch.Tensor:
    """An image file as one frame (1, height, width, 3) in 0..1, upright, what is transparent in it white.

    Raises LuminaError that names the file.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise LuminaError(f"Image {path} does not exist or is a folder; give a file.")
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    # Pillow lets many errors of its readers through.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise LuminaError(f"{path} cannot be read as an image ({error}); give another, such as a .png.") from error
    white = Image.new("RGBA", picture.size, "white")
    pixels = _pixels(Image.alpha_composite(white, picture).convert("RGB"))
    height, width = pixels.shape[:2]
    check_area(path, width, height, settings.size)
    return crop_to(pixels[None], nearest_size(width, height, area_sizes(settings.size))).float() / 255


def check_area(path: Path, width: int, height: int, side: int) -> None:
    """Raise LuminaError for a picture that would have to be enlarged."""
    if width * height < side**2:
        raise LuminaError(
            f"{path} has {width}x{height} pixels, expected the area of {side}x{side} or more; leave it out or encode "
            "at a smaller size."
        )


def _pixels(picture) -> torch.Tensor:
    """A Pillow picture as (H, W, 3) uint8."""
    import numpy as np

    return torch.from_numpy(np.array(picture))
