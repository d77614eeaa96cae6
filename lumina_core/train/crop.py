"""Resize and center crop of frames to a size."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..shapes.resolutions import Size


def crop_to(frames: torch.Tensor, size: Size) -> torch.Tensor:
    """Resize frames so that they just cover a size, then crop them about the center.

    Args:
        frames: (f, H, W, 3), uint8 or float in 0..1.
        size: (width, height) in pixels.

    Returns:
        (f, height, width, 3) of the same dtype; the resize is bicubic and antialiased.
    """
    width, height = size
    scale = max(width / frames.shape[2], height / frames.shape[1])
    covering = max(height, round(frames.shape[1] * scale)), max(width, round(frames.shape[2] * scale))
    pixels = F.interpolate(frames.permute(0, 3, 1, 2), covering, mode="bicubic", antialias=True, align_corners=False)
    if pixels.is_floating_point():
        pixels = pixels.clamp(0, 1)
    top, left = (covering[0] - height) // 2, (covering[1] - width) // 2
    return pixels[..., top : top + height, left : left + width].permute(0, 2, 3, 1).contiguous()
