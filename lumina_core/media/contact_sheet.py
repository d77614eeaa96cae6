"""Frames of a clip side by side in one picture, with a line of text."""

from __future__ import annotations

import textwrap

import torch

_GAP = 4
"""Pixels between frames."""
_LINE = 16
"""Pixels from one line of text to the next."""
_LETTER = 7
"""Pixels that a letter takes at most."""
_PAPER, _INK = 255, 0


def enlarge(frames: torch.Tensor, scale: int) -> torch.Tensor:
    """(f, H, W, 3) with every pixel repeated to ``scale`` x ``scale`` pixels."""
    return frames if scale == 1 else frames.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def contact_sheet(frames: torch.Tensor, caption: str = "", columns: int = 8, side: int = 128) -> torch.Tensor:
    """One picture (H, W, 3) in 0..1 of frames (f, h, w, 3) in 0..1, from first to last in a row.

    columns: frames shown, spread evenly; all of them where there are fewer. side: pixels that the shorter side of each
    has at least, by whole-number enlargement. caption: text below; left out where the built-in font lacks a letter.
    """
    shown = torch.linspace(0, len(frames) - 1, min(columns, len(frames))).round().long()
    tiles = enlarge(frames[shown].float().cpu(), max(1, -(-side // min(frames.shape[1:3]))))
    gap = torch.ones(tiles.shape[1], _GAP, 3)
    row = [part for tile in tiles for part in (gap, tile)][1:]
    sheet = torch.cat(row, dim=1)
    return sheet if not _writable(caption) else torch.cat([sheet, _text(caption, sheet.shape[1])])


def _writable(caption: str) -> bool:
    # The font that Pillow brings along has Latin letters only, and draws a box for any other.
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
