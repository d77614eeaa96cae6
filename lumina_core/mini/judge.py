"""Reads a clip of the mini world back: what it shows, where it starts to move, how fast, how sharp.

Plain geometry, no network: it is checked against drawn clips, so a figure measured with it can be trusted that far.
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
_FAINTEST = 0.15
"""Least color distance (0..1 channels) of an object from its background."""
_SHADE = 0.06
"""How far a row's background may lie from the whole picture's."""
_AREAS = (40, 1600)
"""Least and largest area of an object in pixels."""
_FARTHEST_COLOR, _FARTHEST_BACKGROUND, _WORST_OVERLAP = 0.45, 0.25, 0.6
_STILL = 1.0
"""Displacement in pixels below which nothing is said to move."""
_REACH = 16
"""Half side in pixels of the window that shapes are compared in."""
_VOTES = 8
"""Frames that vote on the shape."""


@dataclass(frozen=True)
class Verdict:
    """What a clip shows; a name is ``"unclear"`` where nothing fits.

    Args:
        direction: of the first stretch, before the shape turns at the picture's edge.
        speed: pixels per frame.
        sharpness: one over the width in pixels of the shape's edge; 0 if nothing is found.
        radius: as ``Scene.radius`` counts it, in pixels; 0 if nothing is found.
        centres: (x, y) in pixels in every frame, as ``Scene.position`` gives them; None where nothing is found.
        confidence: share of the frames with an object, times the overlap with the named shape; 0 to 1.
    """

    color: str
    shape: str
    background: str
    direction: str
    speed: float
    sharpness: float
    radius: float
    centres: tuple[tuple[float, float] | None, ...]
    confidence: float


@torch.no_grad()
def judge(clip: torch.Tensor) -> Verdict:
    """Read a clip (frames, height, width, 3), 0..1.

    Raises:
        LuminaError: another shape.
    """
    if clip.ndim != 4 or clip.shape[-1] != 3:
        raise LuminaError(f"The clip has shape {tuple(clip.shape)}; the judge expects (frames, height, width, 3).")
    clip = clip.float().cpu().clamp(0, 1)
    behind = _behind(clip)
    background = _nearest(behind.mean(0), BACKGROUNDS, _FARTHEST_BACKGROUND)
    nothing = Verdict(UNCLEAR, UNCLEAR, background, UNCLEAR, 0.0, 0.0, 0.0, (None,) * len(clip), 0.0)
    color = _object_color(clip, behind)
    if color is None:
        return nothing
    cover = _cover(clip, behind, color)
    masks, places = _objects(cover)
    if len(places) == 0:
        return nothing
    solid = torch.maximum(cover[places] * _grow(masks), _shrink(masks))
    track = _centroids(solid)
    shape, overlap = _shape(solid, track)
    unit_area, middle = _UNIT.get(shape, _UNIT["circle"])
    radius = math.sqrt(float(solid.sum((1, 2)).median()) / unit_area)
    centres: list[tuple[float, float] | None] = [None] * len(clip)
    for place, (x, y) in zip(places.tolist(), track.tolist(), strict=True):
        centres[place] = (x, y - middle * radius)
    return Verdict(
        color=_nearest(color, COLORS, _FARTHEST_COLOR),
        shape=shape,
        background=background,
        direction=_direction(track),
        speed=_speed(track, places),
        sharpness=_sharpness(cover[places] * _grow(masks, 3)),
        radius=radius,
        centres=tuple(centres),
        confidence=len(places) / len(clip) * overlap,
    )


def _behind(clip: torch.Tensor) -> torch.Tensor:
    """The background's color per row, (height, 3): that of most pixels of the clip, shaded as most of the row is."""
    whole = clip.flatten(0, 2).median(dim=0).values
    rows = clip.transpose(0, 1).flatten(1, 2).median(dim=1).values
    return whole + (rows - whole).clamp(-_SHADE, _SHADE)


def _object_color(clip: torch.Tensor, behind: torch.Tensor) -> torch.Tensor | None:
    """Color (3,) of what stands out most, or None."""
    distance = (clip - behind[:, None]).norm(dim=-1)
    strongest = distance.flatten().topk(max(1, distance.numel() // 100)).values.median()
    if strongest < _FAINTEST:
        return None
    return clip[distance > 0.8 * strongest].median(dim=0).values


def _cover(clip: torch.Tensor, behind: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    """How far each pixel has gone from its row's background to the object's color: (frames, height, width), 0..1."""
    step = color - behind
    return (((clip - behind[:, None]) * step[:, None]).sum(-1) / step.square().sum(-1)[:, None]).clamp(0, 1)


def _objects(cover: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each frame's largest connected object, its holes filled: masks (n, height, width) and the n frames' places."""
    import cv2

    masks, places = [], []
    for place, frame in enumerate((cover > 0.5).to(torch.uint8).numpy()):
        contours, _ = cv2.findContours(frame, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not contours:
            continue
        filled = frame * 0
        cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
        if _AREAS[0] <= filled.sum() <= _AREAS[1]:
            masks.append(torch.from_numpy(filled).float())
            places.append(place)
    return torch.stack(masks) if masks else cover[:0], torch.tensor(places, dtype=torch.long)


def _grow(masks: torch.Tensor, pixels: int = 1) -> torch.Tensor:
    return F.max_pool2d(masks[:, None], 2 * pixels + 1, stride=1, padding=pixels)[:, 0]


def _shrink(masks: torch.Tensor) -> torch.Tensor:
    return 1 - _grow(1 - masks)


def _centroids(solid: torch.Tensor) -> torch.Tensor:
    """Centres of gravity (x, y) in pixels, (n, 2)."""
    weight = solid.sum((1, 2))
    x = (solid.sum(1) * (torch.arange(solid.shape[2]) + 0.5)).sum(1) / weight
    y = (solid.sum(2) * (torch.arange(solid.shape[1]) + 0.5)).sum(1) / weight
    return torch.stack([x, y], dim=1)


def _nearest(color: torch.Tensor, names: dict[str, tuple[int, int, int]], farthest: float) -> str:
    """The named color nearest to (3,); brightness, which blur and shade change first, counts half."""

    def distance(name: str) -> float:
        gap = color - torch.tensor(names[name]) / 255
        gray = gap.mean()
        return math.sqrt(float((gap - gray).square().sum() + 3 * (0.5 * gray) ** 2))

    best = min(names, key=distance)
    return best if distance(best) <= farthest else UNCLEAR


def _shape(solid: torch.Tensor, track: torch.Tensor) -> tuple[str, float]:
    """The shape that overlaps best at the same area and centre, and that overlap: shared area over joint area."""
    chosen = torch.linspace(0, len(solid) - 1, min(_VOTES, len(solid))).round().long()
    axis = torch.arange(-_REACH, _REACH + 1)
    overlaps = dict.fromkeys(SHAPES, 0.0)
    for frame, centre in zip(solid[chosen], track[chosen], strict=True):
        corner = centre.floor().long()
        padded = F.pad(frame, (_REACH,) * 4)
        window = padded[corner[1] : corner[1] + 2 * _REACH + 1, corner[0] : corner[0] + 2 * _REACH + 1]
        shift = corner + 0.5 - centre
        for shape in SHAPES:
            template = _template(shape, float(frame.sum()), axis + shift[0], axis + shift[1])
            joint = torch.maximum(window, template).sum()
            overlaps[shape] += float(torch.minimum(window, template).sum() / joint) / len(chosen)
    best = max(overlaps, key=overlaps.__getitem__)
    return (best if overlaps[best] >= _WORST_OVERLAP else UNCLEAR), overlaps[best]


def _template(shape: str, area: float, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A shape of this area whose centre of gravity is the origin, as cover of the pixels at columns x and rows y."""
    unit_area, middle = _UNIT[shape]
    radius = math.sqrt(area / unit_area)
    cover = 0.0
    for dx, dy in ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)):
        points = (x[None, :] + dx).expand(len(y), -1), (y[:, None] + dy + middle * radius).expand(-1, len(x))
        cover = cover + shape_mask(shape, radius, *points).float() / 4
    return cover


def _unit(shape: str) -> tuple[float, float]:
    """Area and height of the centre of gravity of a shape of radius 1."""
    axis = (torch.arange(-150, 150) + 0.5) / 100
    inside = shape_mask(shape, 1.0, axis[None, :].expand(300, 300), axis[:, None].expand(300, 300)).float()
    return float(inside.sum()) / 1e4, float((inside.sum(1) * axis).sum() / inside.sum())


_UNIT = {shape: _unit(shape) for shape in SHAPES}


def _direction(track: torch.Tensor) -> str:
    """Where the track (n, 2) goes as soon as it has gone far enough to tell."""
    if len(track) < 4:
        return UNCLEAR
    smooth = track.unfold(0, 3, 1).median(dim=-1).values
    gone = smooth - smooth[0]
    far = gone.norm(dim=1)
    enough = min(max(_STILL, 0.4 * float(far.max())), 5.0)
    if far.max() < enough:
        return UNCLEAR
    first = gone[int((far >= enough).nonzero()[0])]
    return max(DIRECTIONS, key=lambda name: float(first @ torch.tensor(DIRECTIONS[name], dtype=torch.float32)))


def _speed(track: torch.Tensor, places: torch.Tensor) -> float:
    """Pixels per frame, over four frames at a time so that a trembling centre does not count as motion."""
    span = min(4, len(track) - 1)
    if span < 1:
        return 0.0
    return float(((track[span:] - track[:-span]).norm(dim=1) / (places[span:] - places[:-span])).median())


def _sharpness(cover: torch.Tensor) -> float:
    """A ramp of w pixels has slope 1/w: the mean slope, each place counting as much as it slopes."""
    slope = torch.hypot(cover.diff(dim=1)[:, :, :-1], cover.diff(dim=2)[:, :-1])
    return float(slope.square().sum() / slope.sum().clamp(min=1e-6))
