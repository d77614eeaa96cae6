"""Spatial tiles of latents, and how their overlaps are blended in pixel space."""

import math
from dataclasses import dataclass

import torch

from ..errors import LuminaError

SMALLEST = 4


@dataclass(frozen=True)
class Tile:
    """A rectangle in latent pixels.

    Args:
        top, left, height, width: its place.
        overlap: width of the blending ramp at its borders.
    """

    top: int
    left: int
    height: int
    width: int
    overlap: int


def plan_tiles(height: int, width: int, tile: int | None, overlap: int | None = None) -> list[Tile]:
    """Equal tiles that cover height x width latent pixels, row by row, with at least ``overlap`` shared pixels.

    Args:
        height, width: latent pixels.
        tile: side in latent pixels. None, or a tile at least as large as the latents, gives one tile.
        overlap: latent pixels, a quarter of the tile by default.

    Raises:
        LuminaError: a tile below 4 latent pixels, or an overlap outside 0..tile/2.
    """
    if tile is None:
        return [Tile(0, 0, height, width, 0)]
    if tile < SMALLEST:
        raise LuminaError(
            f"tile is {tile} latent pixels, expected at least {SMALLEST}; use a larger tile or none.",
            field="tile",
            kind="value",
        )
    overlap = tile // 4 if overlap is None else overlap
    if not 0 <= overlap <= tile // 2:
        raise LuminaError(
            f"overlap is {overlap} latent pixels; use 0 to {tile // 2} (half of tile {tile}).",
            field="overlap",
            kind="value",
        )
    rows, columns = _starts(height, tile, overlap), _starts(width, tile, overlap)
    size = min(tile, height), min(tile, width)
    return [Tile(top, left, *size, overlap) for top in rows for left in columns]


def cut(latents: torch.Tensor, tile: Tile, scale: int = 1) -> torch.Tensor:
    """The part of (..., h, w) under ``tile``; ``scale`` is pixels per latent pixel."""
    rows = slice(tile.top * scale, (tile.top + tile.height) * scale)
    return latents[..., rows, tile.left * scale : (tile.left + tile.width) * scale]


class Blend:
    """Blends overlapping tiles, each added as soon as it is decoded; ``scale`` is pixels per latent pixel."""

    def __init__(self, tiles: list[Tile], scale: int) -> None:
        self._scale = scale
        self._height = max(tile.top + tile.height for tile in tiles) * scale
        self._width = max(tile.left + tile.width for tile in tiles) * scale
        self._total: torch.Tensor | None = None
        self._weights = torch.zeros(self._height, self._width, 1)
        for tile in tiles:
            cut_frames(self._weights, tile, scale).add_(_weight(tile, scale))

    def add(self, part: torch.Tensor, tile: Tile) -> None:
        """Add a tile (f, H, W, channels), float32 on the CPU. The tile is modified in place."""
        if self._total is None:
            self._total = part.new_zeros(len(part), self._height, self._width, part.shape[-1])
        cut_frames(self._total, tile, self._scale).add_(part.mul_(_weight(tile, self._scale)))

    def take(self) -> torch.Tensor:
        """The blended frames (f, H, W, channels) of the tiles added since the last call."""
        if self._total is None:
            raise RuntimeError("take() needs at least one added tile.")
        total, self._total = self._total, None
        return total.div_(self._weights)


def cut_frames(frames: torch.Tensor, tile: Tile, scale: int) -> torch.Tensor:
    """The part of (..., H, W, channels) under ``tile``; ``scale`` is pixels per latent pixel."""
    rows = slice(tile.top * scale, (tile.top + tile.height) * scale)
    return frames[..., rows, tile.left * scale : (tile.left + tile.width) * scale, :]


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    if size <= tile:
        return [0]
    count = math.ceil((size - overlap) / (tile - overlap))
    return [round(index * (size - tile) / (count - 1)) for index in range(count)]


def _weight(tile: Tile, scale: int) -> torch.Tensor:
    """(H, W, 1): blending weight of each pixel of a tile."""
    down, across = _ramp(tile.height, tile.overlap, scale), _ramp(tile.width, tile.overlap, scale)
    return (down[:, None] * across)[..., None]


def _ramp(size: int, overlap: int, scale: int) -> torch.Tensor:
    """Weights along one side: 1 inside, falling over the overlap. Outer borders fall too; normalization cancels it."""
    position = torch.arange(size * scale, dtype=torch.float32) + 0.5
    return torch.minimum(position, position.flip(0)).div(max(overlap * scale, 1)).clamp(max=1.0)
