"""Picture sizes of one area and many aspect ratios, so that no picture is cut more than it must be.

Source: imgproc.py of Lumina-Video (sizes are whole 32 x 32 squares, whose number is kept; sides up to 4 : 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..errors import LuminaError

SQUARE = 32
"""Pixels per side: a token of the coarsest patch size, 2x4, of the VAE's 8 x 8 pixels."""
_WIDEST = 4
Size = tuple[int, int]
"""Width and height in pixels."""


def bucket_sizes(area_side: int) -> list[Size]:
    """Sizes (width, height) of the area of a square of this side, widest first.

    For each width all heights from what the next wider one reaches to the highest that the area allows.
    Raises LuminaError for a side below 32.
    """
    if area_side < SQUARE:
        raise LuminaError(f"size is {area_side}, expected {SQUARE} pixels or more: the side of a square of the area.")
    total = round((area_side / SQUARE) ** 2)
    return [
        (width * SQUARE, height * SQUARE)
        for width in range(total, 0, -1)
        for height in range(max(1, total // (width + 1)), total // width + 1)
        if max(width, height) <= _WIDEST * min(width, height)
    ]


def best_bucket(width: int, height: int, buckets: Sequence[Size]) -> Size:
    """The size that keeps most of a picture of width x height."""

    def kept(size: Size) -> float:
        across, down = size[0] * height, size[1] * width
        return min(across, down) / max(across, down)

    return max(buckets, key=lambda size: (kept(size), size))


def crop_to(frames: torch.Tensor, size: Size) -> torch.Tensor:
    """Frames (f, H, W, 3), bytes or float in 0..1, made to cover a size (width, height), the rest cut off all round.

    Returns (f, height, width, 3) of the same type; resized without aliasing.
    """
    width, height = size
    scale = max(width / frames.shape[2], height / frames.shape[1])
    covering = max(height, round(frames.shape[1] * scale)), max(width, round(frames.shape[2] * scale))
    pixels = F.interpolate(frames.permute(0, 3, 1, 2), covering, mode="bicubic", antialias=True, align_corners=False)
    if pixels.is_floating_point():
        pixels = pixels.clamp(0, 1)
    top, left = (covering[0] - height) // 2, (covering[1] - width) // 2
    return pixels[..., top : top + height, left : left + width].permute(0, 2, 3, 1).contiguous()
