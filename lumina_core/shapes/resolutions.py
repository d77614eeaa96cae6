"""Picture sizes of one area: all that there are, and the one for an aspect ratio.

Source: imgproc.py of Lumina-Video (``generate_crop_size_list``), by which its training cut its pictures and its README
lists the sizes to sample at: whole 32 x 32 squares whose number is kept, sides up to 4 : 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import LuminaError

SQUARE = 32
"""Pixels per side: a token of the coarsest patch size, 2x4, of the VAE's 8 x 8 pixels."""
WIDEST = 4
"""Longest side over shortest, at most."""
Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Area:
    """What a model was made for: ``side`` in pixels of a square of the area, frames of a clip, frames per second."""

    side: int
    frames: int
    fps: int


AREAS = {
    "960-class": Area(960, 96, 24),
    "512-class": Area(512, 64, 16),
    "256-class": Area(256, 32, 8),
    "mini": Area(64, 32, 8),
}
"""The released models by their training size, the first stage of training, and the bundled model."""
RATIOS = ("16:9", "3:2", "4:3", "5:4", "1:1", "2:1", "21:9", "3:1", "4:1")
"""The usual ones, width to height."""


def area_sizes(side: int, field: str = "size") -> list[Size]:
    """Sizes (width, height) of the area of a square of this side, widest first.

    Of n squares of 32 pixels a size has at most n, and one more across and down would be more than n: none wastes
    area. With a size its upright twin is in the list.
    Raises LuminaError that names the ``field`` for a side below 32.
    """
    if side < SQUARE:
        raise LuminaError(f"{field} is {side}, expected {SQUARE} pixels or more: the side of a square of the area.")
    total = round((side / SQUARE) ** 2)
    return [
        (width * SQUARE, height * SQUARE)
        for width in range(total, 0, -1)
        for height in range(max(1, total // (width + 1)), total // width + 1)
        if max(width, height) <= WIDEST * min(width, height)
    ]


def nearest_size(width: float, height: float, sizes: Sequence[Size]) -> Size:
    """The size that keeps most of a picture of width x height; of several the largest."""

    def kept(size: Size) -> float:
        across, down = size[0] * height, size[1] * width
        return min(across, down) / max(across, down)

    return max(sizes, key=lambda size: (kept(size), size))


def pick_size(side: int, ratio: str, field: str = "ratio") -> Size:
    """The size of an area for a ratio, such as 16:9, 2.39:1 or 1.78, or one of its sizes itself, such as 1248x704.

    Raises LuminaError that names the ``field`` for another text, a ratio beyond 4:1 and a size of another area.

    Examples:
        >>> pick_size(960, "16:9")
        (1248, 704)
    """
    sizes = area_sizes(side)
    if whole := re.fullmatch(r"\s*(\d{1,6})\s*[x×]\s*(\d{1,6})\s*", ratio):
        return _listed((int(whole[1]), int(whole[2])), sizes, side, field)
    width, height = _sides(ratio, field)
    if not 1 / WIDEST <= width / height <= WIDEST:
        raise LuminaError(f"{field} is '{ratio}', beyond {WIDEST}:1, the widest there is; write one up to {WIDEST}:1.")
    return nearest_size(width, height, sizes)


def _listed(size: Size, sizes: list[Size], side: int, field: str) -> Size:
    if size in sizes:
        return size
    near = min(sizes, key=lambda other: abs(other[0] - size[0]) + abs(other[1] - size[1]))
    raise LuminaError(
        f"{field} is '{size[0]}x{size[1]}', which is none of the {len(sizes)} sizes of the area {side}x{side}; the "
        f"nearest is {near[0]}x{near[1]}."
    )


def _sides(text: str, field: str) -> tuple[float, float]:
    """Width and height of a ratio, the colon of a Chinese keyboard included."""
    parts = text.replace("：", ":").split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) and number > 0 for number in numbers):
        raise LuminaError(
            f"{field} is '{text}'; write width:height, such as 16:9 or 2.39:1, or a size, such as 1248x704."
        )
    return numbers[0], numbers[1] if len(numbers) == 2 else 1.0
