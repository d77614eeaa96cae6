"""Frames of a clip side by side in one image, with a caption."""

from __future__ import annotations

import textwrap

import torch

_GAP = 4  # pixels between frames
_LINE = 16  # pixels per line of text
_LETTER = 7  # widest letter in pixels
_PAPER, _INK = 255, 0


def enlarge(frames: torch.Tensor, scale: int) -> torch.Tensor:
    """Frames (f, H, W, 3) with every pixel repeated to ``scale`` x ``scale`` pixels."""
    return frames if scale == 1 else frames.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def contact_sheet(frames: torch.Tensor, caption: str = "", columns: int = 8, side: int = 128) -> torch.Tensor:
    """One image (H, W, 3) in 0..1 that shows frames (f, h, w, 3) in 0..1 in a row, from first to last.

    columns: number of frames, evenly spaced; all of them if there are fewer. side: minimum length of the shorter side
    of each frame in pixels, reached by integer upscaling. caption: text below, omitted if the built-in font lacks a
    character.
    """
    shown = torch.linspace(0, len(frames) - 1, min(columns, len(frames))).round().long()
    tiles = enlarge(frames[shown].float().cpu(), max(1, -(-side // min(frames.shape[1:3]))))
    gap = torch.ones(tiles.shape[1], _GAP, 3)
    row = [part for tile in tiles for part in (gap, tile)][1:]
    sheet = torch.cat(row, dim=1)
    return sheet if not _writable(caption) else torch.cat([sheet, _text(caption, sheet.shape[1])])


def _writable(caption: str) -> bool:
    # Pillow's built-in font has Latin letters only and draws a box for any other character.
    return bool(caption.strip()) and caption.isascii()


def _text(caption: str, width: int) -> torch.Tensor:
    """(H, width, 3) black on white."""
    import numpy
    from PIL import Image, ImageDraw

    lines = textwrap.wrap(caption, max(1, (width - 2 * _GAP) // _LETTER))
    image = Image.new("RGB", (width, len(lines) * _LINE + 2 * _GAP), (_PAPER,) * 3)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((_GAP, _GAP + number * _LINE), line, fill=(_INK,) * 3)
    return torch.from_numpy(numpy.array(image)).float() / 255
