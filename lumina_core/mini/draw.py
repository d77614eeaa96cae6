"""Scenes to pixels: smooth shapes by their signed distance, on a background that grows lighter towards the bottom."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .world import BACKGROUNDS, COLORS, FRAMES, SIDE, Scene

_SHADE = 14.0
"""Brightness (of 255) that a background gains from top to bottom."""
_OUTLINE = 2.5
"""Half width of an outline in pixels."""


def draw(scene: Scene, frames: int = FRAMES, shown: range | None = None) -> torch.Tensor:
    """The clip of a scene, or only its frames ``shown``: (frames, 64, 64, 3) float32 in 0..1."""
    return paint(scene, [torch.tensor([scene.position(frame, frames) for frame in shown or range(frames)])])


def paint(scene: Scene, paths: Sequence[torch.Tensor], light: torch.Tensor | None = None) -> torch.Tensor:
    """Shapes that look as the scene says, along paths of centres (n, 2) in pixels: (n, 64, 64, 3) float32 in 0..1.

    light: (n,) added to the brightness of the background, of 255.
    """
    axis = torch.arange(SIDE) + 0.5
    shade = (axis / SIDE - 0.5)[:, None, None] * _SHADE
    picture = (torch.tensor(BACKGROUNDS[scene.background]) + shade).expand(SIDE, SIDE, 3)
    if light is not None:
        picture = picture + light.view(-1, 1, 1, 1)
    color = torch.tensor(COLORS[scene.color], dtype=torch.float32)
    for centres in paths:
        x = axis[None, None, :] - centres[:, 0, None, None]
        y = axis[None, :, None] - centres[:, 1, None, None]
        distance = _DISTANCES[scene.shape](x, y, scene.radius)
        if scene.outline:
            distance = (distance + _OUTLINE).abs() - _OUTLINE
        cover = (0.5 - distance).clamp(0, 1)[..., None]
        picture = picture * (1 - cover) + color * cover
    return (picture / 255).clamp(0, 1)


def shape_mask(shape: str, radius: float, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Whether points (x, y), in pixels from its centre, lie in a shape."""
    return _DISTANCES[shape](x, y, radius) < 0


def _circle(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    return torch.hypot(x, y) - 0.95 * radius


def _square(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.85 * radius


def _triangle(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    """Point upwards; the three sides lie half a (circumscribed) radius from the centre of gravity."""
    size = 1.12 * radius
    y = y - 0.2 * radius
    slant = math.cos(math.pi / 6) * x.abs() - math.sin(math.pi / 6) * y
    return torch.maximum(slant, y) - size / 2


def _star(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    """Five points; the edge runs straight from a point at the outer radius to a notch at the inner one."""
    outer, inner = 1.1 * radius, 0.45 * radius
    fifth = 2 * math.pi / 5
    angle = torch.remainder(torch.atan2(x, -y) + fifth / 2, fifth) - fifth / 2
    length = torch.hypot(x, y)
    along, aside = length * angle.abs().cos(), length * angle.abs().sin()
    notch_along, notch_aside = inner * math.cos(fifth / 2), inner * math.sin(fifth / 2)
    edge = math.hypot(outer - notch_along, notch_aside)
    return ((along - outer) * notch_aside + aside * (outer - notch_along)) / edge


_DISTANCES = {"circle": _circle, "square": _square, "triangle": _triangle, "star": _star}
