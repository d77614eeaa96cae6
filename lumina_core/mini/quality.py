"""Quality of generated clips: accuracy relative to the prompt, sharpness, and distance to the drawn scene."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from .draw import draw
from .judge import Verdict, judge
from .prompts import Prompt
from .world import MARGIN, SIDE, Scene

# What a prompt names.
ASKED = ("color", "shape", "direction", "background")
# The accuracy is the mean of these.
COUNTED = ("color", "shape", "direction")


@dataclass(frozen=True)
class ClipQuality:
    """Quality of one clip relative to its prompt.

    Args:
        color, shape, direction, background: 1 if the clip matches the prompt, else 0.
        sharpness: one over the width of the shape's edge in pixels.
        distance: root mean square difference, 0 to 1, from the prompt's scene drawn at the detected positions.
    """

    color: float
    shape: float
    direction: float
    background: float
    sharpness: float
    distance: float

    @property
    def accuracy(self) -> float:
        """Mean of color, shape and direction, 0 to 1."""
        return sum(getattr(self, name) for name in COUNTED) / len(COUNTED)


MEASURES = (*ASKED, "accuracy", "sharpness", "distance")


def measure(clip: torch.Tensor, prompt: Prompt) -> ClipQuality:
    """Quality of one clip (f, H, W, 3) in 0..1."""
    found = judge(clip)
    right = {name: float(getattr(found, name) == getattr(prompt.scene, name)) for name in ASKED}
    return ClipQuality(**right, sharpness=found.sharpness, distance=distance_to_truth(clip, found, prompt.scene))


def measure_all(clips: list[torch.Tensor], prompts: list[Prompt]) -> list[ClipQuality]:
    """Quality of each clip."""
    return [measure(clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]


def means(qualities: list[ClipQuality]) -> dict[str, float]:
    """Mean of each of ``MEASURES`` over the clips."""
    return {name: sum(getattr(quality, name) for quality in qualities) / len(qualities) for name in MEASURES}


def distance_to_truth(clip: torch.Tensor, found: Verdict, scene: Scene) -> float:
    """Root mean square difference from ``scene``, drawn at the detected positions and size, with values in 0..1."""
    drawn = torch.cat([draw(_placed(scene, found.radius or scene.radius, center), 1) for center in found.centers])
    return math.sqrt(float((clip - drawn).square().mean()))


def _placed(scene: Scene, radius: float, center: tuple[float, float] | None) -> Scene:
    """A still scene at ``center``, or outside the frame without one."""
    x, y = center or (-SIDE, -SIDE)
    room = SIDE / 2 - radius - MARGIN
    return replace(
        scene,
        direction="right",
        speed=0.0,
        radius=radius,
        along=(x - SIDE / 2) / room,
        across=(y - SIDE / 2) / room,
    )
