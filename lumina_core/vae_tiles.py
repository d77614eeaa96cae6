"""Square tiles over a latent picture, and their blend in pixels."""

import math
from dataclasses import dataclass

import torch

from .errors import LuminaError

SMALLEST = 4


@dataclass(frozen=True)
class Tile:
    """A rectangle in latent pixels; `overlap` is the width of the ramp at its borders."""

    top: int
    left: int
    height: int
    width: int
    overlap: int


def plan_tiles(height: int, width: int, tile: int | None, overlap: int | None = None) -> list[Tile]:
    """Tiles of equal size that cover height x width latent pixels, row by row, sharing at least `overlap` pixels.

    tile None, or a tile as large as the picture, gives one tile. Raises LuminaError for a tile below 4 latent pixels
    or an overlap outside 0..tile/2.
    """
    if tile is None:
        return [Tile(0, 0, height, width, 0)]
    if tile < SMALLEST:
        raise LuminaError(f"tile is {tile} latent pixels, expected at least {SMALLEST}; choose a larger tile or none.")
    overlap = tile // 4 if overlap is None else overlap
    if not 0 <= overlap <= tile // 2:
        raise LuminaError(f"overlap is {overlap} latent pixels, expected 0 to {tile // 2} (half of tile {tile}).")
    rows, columns = _starts(height, tile, overlap), _starts(width, tile, overlap)
    size = min(tile, height), min(tile, width)
    return [Tile(top, left, *size, overlap) for top in rows for left in columns]


def cut(picture: torch.Tensor, tile: Tile, scale: int = 1) -> torch.Tensor:
    """The part of (..., h, w) under `tile`; `scale` is pixels per latent pixel."""
    rows = slice(tile.top * scale, (tile.top + tile.height) * scale)
    return picture[..., rows, tile.left * scale : (tile.left + tile.width) * scale]


def merge(parts: list[torch.Tensor], tiles: list[Tile], scale: int) -> torch.Tensor:
    """Blend tiles, each (f, H, W, channels), into one picture; `scale` is pixels per latent pixel."""
    if len(parts) == 1:
        return parts[0]
    height = max(tile.top + tile.height for tile in tiles) * scale
    width = max(tile.left + tile.width for tile in tiles) * scale
    total = parts[0].new_zeros(len(parts[0]), height, width, parts[0].shape[-1])
    weights = parts[0].new_zeros(height, width, 1)
    for part, tile in zip(parts, tiles, strict=True):
        down, across = _ramp(tile.height, tile.overlap, scale), _ramp(tile.width, tile.overlap, scale)
        weight = (down[:, None] * across)[..., None]
        rows = slice(tile.top * scale, (tile.top + tile.height) * scale)
        columns = slice(tile.left * scale, (tile.left + tile.width) * scale)
        total[:, rows, columns] += part * weight
        weights[rows, columns] += weight
    return total / weights


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    if size <= tile:
        return [0]
    count = math.ceil((size - overlap) / (tile - overlap))
    return [round(index * (size - tile) / (count - 1)) for index in range(count)]


def _ramp(size: int, overlap: int, scale: int) -> torch.Tensor:
    """Weights along one side: 1 inside, falling over the overlap. Outer borders fall too; the sum divides that out."""
    position = torch.arange(size * scale, dtype=torch.float32) + 0.5
    return torch.minimum(position, position.flip(0)).div(max(overlap * scale, 1)).clamp(max=1.0)
