"""Rows of frames of clips as one PNG."""

from __future__ import annotations

from pathlib import Path

import torch

# Frames of a strip; pixels of its label and between frames.
FRAMES, LABEL, GAP = 8, 150, 2


def save_strips(strips: list[tuple[str, torch.Tensor]], file: Path) -> None:
    """One row of frames from first to last for every (label, clip of (f, H, W, 3) in 0..1); all of one size."""
    from PIL import Image, ImageDraw

    height, width = strips[0][1].shape[1:3]
    sheet = Image.new("RGB", (LABEL + FRAMES * (width + GAP), len(strips) * (height + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (label, clip) in enumerate(strips):
        top = row * (height + GAP)
        pen.text((4, top + height // 2 - 6), label, fill="black")
        for column, place in enumerate(torch.linspace(0, len(clip) - 1, FRAMES).round().long().tolist()):
            pixels = clip[place].mul(255).round().byte().numpy()
            sheet.paste(Image.fromarray(pixels), (LABEL + column * (width + GAP), top))
    # Five bits a channel are enough, and a third of the size.
    sheet.point(lambda value: value & 0xF8).save(file, optimize=True)
