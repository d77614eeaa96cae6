"""Renders scenes: antialiased shapes from signed distances, on a background that is lighter toward the bottom."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .world import BACKGROUNDS, COLORS, FRAMES, SIDE, Scene

_SHADE = 14.0  # brightness difference of the background from top to bottom, of 255
_OUTLINE = 2.5  # half the width of an outline in pixels


def draw(scene: Scene, frames: int = FRAMES, shown: range | None = None) -> torch.Tensor:
    """Frames (n, 64, 64, 3) float32 in 0..1 of a scene.

    Args:
        scene: what to draw.
        frames: length of the clip, which determines the path.
        shown: indices of the frames to draw, by default all.
    """
    return paint(scene, [torch.tensor([scene.position(frame, frames) for frame in shown or range(frames)])])


def paint(scene: Scene, paths: Sequence[torch.Tensor], light: torch.Tensor | None = None) -> torch.Tensor:
    """Frames (n, 64, 64, 3) float32 in 0..1 with one shape per path, in the style of the scene.

    Args:
        scene: shape, colors and size.
        paths: centers (n, 2) in pixels of each shape.
        light: brightness (n,) added to the background, of 255.
    """
    axis = torch.arange(SIDE) + 0.5
    shade = (axis / SIDE - 0.5)[:, None, None] * _SHADE
    image = (torch.tensor(BACKGROUNDS[scene.background]) + shade).expand(SIDE, SIDE, 3)
    if light is not None:
        image = image + light.view(-1, 1, 1, 1)
    color = torch.tensor(COLORS[scene.color], dtype=torch.float32)
    for centers in paths:
        x = axis[None, None, :] - centers[:, 0, None, None]
        y = axis[None, :, None] - centers[:, 1, None, None]
        distance = _DISTANCES[scene.shape](x, y, scene.radius)
        if scene.outline:
            distance = (distance + _OUTLINE).abs() - _OUTLINE
        alpha = (0.5 - distance).clamp(0, 1)[..., None]
        image = image * (1 - alpha) + color * alpha
    return (image / 255).clamp(0, 1)


def shape_mask(shape: str, radius: float, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Whether points (x, y), in pixels from the shape's center, lie inside it; bool of their shape."""
    return _DISTANCES[shape](x, y, radius) < 0


def _circle(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    return torch.hypot(x, y) - 0.95 * radius


def _square(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.85 * radius


def _triangle(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    """Pointing up; the sides are half a circumradius from the centroid."""
    size = 1.12 * radius
    y = y - 0.2 * radius
    slant = math.cos(math.pi / 6) * x.abs() - math.sin(math.pi / 6) * y
    return torch.maximum(slant, y) - size / 2


def _star(x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    """Five points at the outer radius, connected by straight edges to the notches at the inner radius."""
    outer, inner = 1.1 * radius, 0.45 * radius
    fifth = 2 * math.pi / 5
    angle = torch.remainder(torch.atan2(x, -y) + fifth / 2, fifth) - fifth / 2
    length = torch.hypot(x, y)
    along, aside = length * angle.abs().cos(), length * angle.abs().sin()
    notch_along, notch_aside = inner * math.cos(fifth / 2), inner * math.sin(fifth / 2)
    edge = math.hypot(outer - notch_along, notch_aside)
    return ((along - outer) * notch_aside + aside * (outer - notch_along)) / edge


_DISTANCES = {"circle": _circle, "square": _square, "triangle": _triangle, "star": _star}
