"""Resolution buckets: the frame sizes of one area, and the size for an aspect ratio.

Source: ``generate_crop_size_list`` in imgproc.py of Lumina-Video, which crops the training data, and whose sizes its
README lists for sampling: at most as many 32 x 32 squares as the square of the area has, aspect ratios up to 4:1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import LuminaError
from .latents import COARSEST_SIDE, VAE_SPACE

# Sides are multiples of this many pixels, so that every patch size divides them.
SIDE_MULTIPLE = COARSEST_SIDE * VAE_SPACE
# Largest ratio of the longer to the shorter side.
MAX_RATIO = 4
# Width and height in pixels.
Size = tuple[int, int]


@dataclass(frozen=True)
class Area:
    """What a model was trained on.

    Args:
        side: in pixels, of the square that has the area of a frame.
        frames: video frames of a clip.
        fps: frames per second.
    """

    side: int
    frames: int
    fps: int


# The released models by their training size, the first stage of training, and the bundled model.
AREAS = {
    "960-class": Area(960, 96, 24),
    "512-class": Area(512, 64, 16),
    "256-class": Area(256, 32, 8),
    "mini": Area(64, 32, 8),
}
# Common aspect ratios, width to height.
RATIOS = ("16:9", "3:2", "4:3", "5:4", "1:1", "2:1", "21:9", "3:1", "4:1")


def area_sizes(side: int, field: str = "size") -> list[Size]:
    """Sizes (width, height) in pixels with the area of a square of this side, widest first.

    If the square has n cells of 32 x 32 pixels, a size has at most n, and would have more with one more row and column.
    With each size the list has its portrait counterpart.

    Args:
        side: of the square, in pixels.
        field: name of the setting in the error.

    Raises:
        LuminaError: a side below 32.
    """
    if side < SIDE_MULTIPLE:
        raise LuminaError(
            f"{field} is {side}, expected {SIDE_MULTIPLE} pixels or more: the side of a square of the area.",
            field=field,
            kind="value",
        )
    total = round((side / SIDE_MULTIPLE) ** 2)
    return [
        (width * SIDE_MULTIPLE, height * SIDE_MULTIPLE)
        for width in range(total, 0, -1)
        for height in range(max(1, total // (width + 1)), total // width + 1)
        if max(width, height) <= MAX_RATIO * min(width, height)
    ]


def nearest_size(width: float, height: float, sizes: Sequence[Size]) -> Size:
    """The size whose crop keeps most of a frame of width x height; among equals, the largest."""

    def kept(size: Size) -> float:
        across, down = size[0] * height, size[1] * width
        return min(across, down) / max(across, down)

    return max(sizes, key=lambda size: (kept(size), size))


def pick_size(side: int, ratio: str, field: str = "ratio") -> Size:
    """The size (width, height) in pixels of an area for an aspect ratio.

    Args:
        side: of the square of the area, in pixels.
        ratio: such as 16:9, 2.39:1 or 1.78, or one of the area's sizes, such as 1248x704.
        field: name of the setting in the error.

    Raises:
        LuminaError: text of another form, a ratio beyond 4:1, or a size that the area does not have.

    Examples:
        >>> pick_size(960, "16:9")
        (1248, 704)
    """
    sizes = area_sizes(side)
    if whole := re.fullmatch(r"\s*(\d{1,6})\s*[x×]\s*(\d{1,6})\s*", ratio):
        return _listed((int(whole[1]), int(whole[2])), sizes, side, field)
    width, height = _sides(ratio, field)
    if not 1 / MAX_RATIO <= width / height <= MAX_RATIO:
        raise LuminaError(
            f"{field} is '{ratio}', beyond {MAX_RATIO}:1; write an aspect ratio from 1:{MAX_RATIO} to {MAX_RATIO}:1.",
            field=field,
            kind="value",
        )
    return nearest_size(width, height, sizes)


def _listed(size: Size, sizes: list[Size], side: int, field: str) -> Size:
    if size in sizes:
        return size
    near = min(sizes, key=lambda other: abs(other[0] - size[0]) + abs(other[1] - size[1]))
    raise LuminaError(
        f"{field} is '{size[0]}x{size[1]}', which is none of the {len(sizes)} sizes of the area {side}x{side}; use "
        f"the nearest one, {near[0]}x{near[1]}.",
        field=field,
        kind="value",
    )


def _sides(text: str, field: str) -> tuple[float, float]:
    """Width and height of a ratio; full-width colons, as Chinese keyboards have, are accepted."""
    parts = text.replace("：", ":").split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) and number > 0 for number in numbers):
        raise LuminaError(
            f"{field} is '{text}'; write width:height, such as 16:9 or 2.39:1, or a size, such as 1248x704.",
            field=field,
            kind="value",
        )
    return numbers[0], numbers[1] if len(numbers) == 2 else 1.0
