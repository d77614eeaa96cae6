"""Classifies clips of the mini world: color, shape, background, direction, speed and sharpness.

It uses geometry and no network. Tests measure its accuracy on drawn clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from .draw import shape_mask
from .world import BACKGROUNDS, COLORS, DIRECTIONS, SHAPES

UNCLEAR = "unclear"
_MIN_CONTRAST = 0.15  # smallest color distance of an object from its background, with channels in 0..1
_SHADE = 0.06  # largest difference between a row's background and that of the clip
_AREAS = (40, 1600)  # smallest and largest area of an object in pixels
# Largest color distances to a named color and background, and the smallest overlap with a named shape.
_MAX_COLOR_DISTANCE, _MAX_BACKGROUND_DISTANCE, _MIN_OVERLAP = 0.45, 0.25, 0.6
_STILL = 1.0  # displacement in pixels below which a shape does not move
_REACH = 16  # half the side in pixels of the window in which shapes are compared
_VOTES = 8  # number of frames that vote on the shape


@dataclass(frozen=True)
class Verdict:
    """Content of a clip. Names are ``"unclear"`` if none is close enough.

    Args:
        color, shape, background: a name of ``world``.
        direction: direction before the shape first bounces off the edge.
        speed: pixels per frame.
        sharpness: one over the width of the shape's edge in pixels; 0 without an object.
        radius: pixels, as in ``Scene.radius``; 0 without an object.
        centers: (x, y) in pixels for every frame, as in ``Scene.position``; None in frames without an object.
        confidence: share of the frames with an object, times the overlap with the named shape; 0 to 1.
    """

    color: str
    shape: str
    background: str
    direction: str
    speed: float
    sharpness: float
    radius: float
    centers: tuple[tuple[float, float] | None, ...]
    confidence: float


@torch.no_grad()
def judge(clip: torch.Tensor) -> Verdict:
    """The content of a clip (frames, height, width, 3) in 0..1.

    Raises:
        LuminaError: the clip has another shape.
    """
    if clip.ndim != 4 or clip.shape[-1] != 3:
        raise LuminaError(
            f"The clip has shape {tuple(clip.shape)}, expected (frames, height, width, 3).", field="clip", kind="value"
        )
    clip = clip.float().cpu().clamp(0, 1)
    backdrop = _backdrop(clip)
    background = _nearest(backdrop.mean(0), BACKGROUNDS, _MAX_BACKGROUND_DISTANCE)
    nothing = Verdict(UNCLEAR, UNCLEAR, background, UNCLEAR, 0.0, 0.0, 0.0, (None,) * len(clip), 0.0)
    color = _object_color(clip, backdrop)
    if color is None:
        return nothing
    cover = _cover(clip, backdrop, color)
    masks, indices = _objects(cover)
    if len(indices) == 0:
        return nothing
    solid = torch.maximum(cover[indices] * _dilate(masks), _erode(masks))
    track = _centroids(solid)
    shape, overlap = _shape(solid, track)
    unit_area, middle = _UNIT.get(shape, _UNIT["circle"])
    radius = math.sqrt(float(solid.sum((1, 2)).median()) / unit_area)
    centers: list[tuple[float, float] | None] = [None] * len(clip)
    for index, (x, y) in zip(indices.tolist(), track.tolist(), strict=True):
        centers[index] = (x, y - middle * radius)
    return Verdict(
        color=_nearest(color, COLORS, _MAX_COLOR_DISTANCE),
        shape=shape,
        background=background,
        direction=_direction(track),
        speed=_speed(track, indices),
        sharpness=_sharpness(cover[indices] * _dilate(masks, 3)),
        radius=radius,
        centers=tuple(centers),
        confidence=len(indices) / len(clip) * overlap,
    )


def _backdrop(clip: torch.Tensor) -> torch.Tensor:
    """Background color of each row (height, 3): the median of the row, close to the median of the clip."""
    whole = clip.flatten(0, 2).median(dim=0).values
    rows = clip.transpose(0, 1).flatten(1, 2).median(dim=1).values
    return whole + (rows - whole).clamp(-_SHADE, _SHADE)


def _object_color(clip: torch.Tensor, backdrop: torch.Tensor) -> torch.Tensor | None:
    """Median color (3,) of the pixels that differ most from the background, or None without contrast."""
    distance = (clip - backdrop[:, None]).norm(dim=-1)
    strongest = distance.flatten().topk(max(1, distance.numel() // 100)).values.median()
    if strongest < _MIN_CONTRAST:
        return None
    return clip[distance > 0.8 * strongest].median(dim=0).values


def _cover(clip: torch.Tensor, backdrop: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    """Opacity of the object in each pixel, (frames, height, width) in 0..1, by projection onto its color."""
    step = color - backdrop
    return (((clip - backdrop[:, None]) * step[:, None]).sum(-1) / step.square().sum(-1)[:, None]).clamp(0, 1)


def _objects(cover: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest connected object of each frame, holes filled: masks (n, height, width) and frame indices (n,)."""
    import cv2

    masks, indices = [], []
    for index, frame in enumerate((cover > 0.5).to(torch.uint8).numpy()):
        contours, _ = cv2.findContours(frame, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not contours:
            continue
        filled = frame * 0
        cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
        if _AREAS[0] <= filled.sum() <= _AREAS[1]:
            masks.append(torch.from_numpy(filled).float())
            indices.append(index)
    return torch.stack(masks) if masks else cover[:0], torch.tensor(indices, dtype=torch.long)


def _dilate(masks: torch.Tensor, pixels: int = 1) -> torch.Tensor:
    return F.max_pool2d(masks[:, None], 2 * pixels + 1, stride=1, padding=pixels)[:, 0]


def _erode(masks: torch.Tensor) -> torch.Tensor:
    return 1 - _dilate(1 - masks)


def _centroids(solid: torch.Tensor) -> torch.Tensor:
    """Centroids (x, y) in pixels, (n, 2)."""
    weight = solid.sum((1, 2))
    x = (solid.sum(1) * (torch.arange(solid.shape[2]) + 0.5)).sum(1) / weight
    y = (solid.sum(2) * (torch.arange(solid.shape[1]) + 0.5)).sum(1) / weight
    return torch.stack([x, y], dim=1)


def _nearest(color: torch.Tensor, names: dict[str, tuple[int, int, int]], farthest: float) -> str:
    """The named color nearest to ``color`` (3,). Brightness has half weight, because blur and shading change it."""

    def distance(name: str) -> float:
        gap = color - torch.tensor(names[name]) / 255
        gray = gap.mean()
        return math.sqrt(float((gap - gray).square().sum() + 3 * (0.5 * gray) ** 2))

    best = min(names, key=distance)
    return best if distance(best) <= farthest else UNCLEAR


def _shape(solid: torch.Tensor, track: torch.Tensor) -> tuple[str, float]:
    """The shape with the highest intersection over union at the same area and centroid, and that value."""
    chosen = torch.linspace(0, len(solid) - 1, min(_VOTES, len(solid))).round().long()
    axis = torch.arange(-_REACH, _REACH + 1)
    overlaps = dict.fromkeys(SHAPES, 0.0)
    for frame, center in zip(solid[chosen], track[chosen], strict=True):
        corner = center.floor().long()
        padded = F.pad(frame, (_REACH,) * 4)
        window = padded[corner[1] : corner[1] + 2 * _REACH + 1, corner[0] : corner[0] + 2 * _REACH + 1]
        shift = corner + 0.5 - center
        for shape in SHAPES:
            template = _template(shape, float(frame.sum()), axis + shift[0], axis + shift[1])
            union = torch.maximum(window, template).sum()
            overlaps[shape] += float(torch.minimum(window, template).sum() / union) / len(chosen)
    best = max(overlaps, key=overlaps.__getitem__)
    return (best if overlaps[best] >= _MIN_OVERLAP else UNCLEAR), overlaps[best]


def _template(shape: str, area: float, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Opacity of a shape with this area and its centroid at the origin, at pixel columns x and rows y."""
    unit_area, middle = _UNIT[shape]
    radius = math.sqrt(area / unit_area)
    cover = 0.0
    for dx, dy in ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)):
        points = (x[None, :] + dx).expand(len(y), -1), (y[:, None] + dy + middle * radius).expand(-1, len(x))
        cover = cover + shape_mask(shape, radius, *points).float() / 4
    return cover


def _unit(shape: str) -> tuple[float, float]:
    """Area and vertical centroid of a shape with radius 1."""
    axis = (torch.arange(-150, 150) + 0.5) / 100
    inside = shape_mask(shape, 1.0, axis[None, :].expand(300, 300), axis[:, None].expand(300, 300)).float()
    return float(inside.sum()) / 1e4, float((inside.sum(1) * axis).sum() / inside.sum())


_UNIT = {shape: _unit(shape) for shape in SHAPES}


def _direction(track: torch.Tensor) -> str:
    """Direction of the first displacement of the track (n, 2) that is large enough."""
    if len(track) < 4:
        return UNCLEAR
    smooth = track.unfold(0, 3, 1).median(dim=-1).values
    displacement = smooth - smooth[0]
    distance = displacement.norm(dim=1)
    enough = min(max(_STILL, 0.4 * float(distance.max())), 5.0)
    if distance.max() < enough:
        return UNCLEAR
    first = displacement[int((distance >= enough).nonzero()[0])]
    return max(DIRECTIONS, key=lambda name: float(first @ torch.tensor(DIRECTIONS[name], dtype=torch.float32)))


def _speed(track: torch.Tensor, indices: torch.Tensor) -> float:
    """Median speed in pixels per frame over spans of four frames, so that jitter does not count as motion."""
    span = min(4, len(track) - 1)
    if span < 1:
        return 0.0
    return float(((track[span:] - track[:-span]).norm(dim=1) / (indices[span:] - indices[:-span])).median())


def _sharpness(cover: torch.Tensor) -> float:
    """Mean slope weighted by slope; an edge of width w pixels has slope 1/w."""
    slope = torch.hypot(cover.diff(dim=1)[:, :, :-1], cover.diff(dim=2)[:, :-1])
    return float(slope.square().sum() / slope.sum().clamp(min=1e-6))
