"""Quality of clips: what the judge reads in them against the prompt, sharpness, distance to the drawn scene."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from .draw import draw
from .judge import Verdict, judge
from .prompts import Prompt
from .world import MARGIN, SIDE, Scene

ASKED = ("color", "shape", "direction", "background")
# Whose mean is the accuracy.
COUNTED = ("color", "shape", "direction")


@dataclass(frozen=True)
class ClipQuality:
    """One clip against its prompt.

    Args:
        color, shape, direction, background: 1 where the judge reads what the prompt says, else 0.
        sharpness: one over the width of the shape's edge in pixels.
        distance: root mean square difference to the prompt's scene, drawn where the shape was found, 0 to 1.
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
    """Judge one clip (f, H, W, 3), values 0 to 1, against its prompt."""
    found = judge(clip)
    right = {name: float(getattr(found, name) == getattr(prompt.scene, name)) for name in ASKED}
    return ClipQuality(**right, sharpness=found.sharpness, distance=distance_to_truth(clip, found, prompt.scene))


def measure_all(clips: list[torch.Tensor], prompts: list[Prompt]) -> list[ClipQuality]:
    """``measure`` of every clip, in order."""
    return [measure(clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]


def means(qualities: list[ClipQuality]) -> dict[str, float]:
    """Mean of every measure over the clips."""
    return {name: sum(getattr(quality, name) for quality in qualities) / len(qualities) for name in MEASURES}


def distance_to_truth(clip: torch.Tensor, found: Verdict, scene: Scene) -> float:
    """Root mean square difference (values 0..1) from the prompt's scene, drawn where and as large as it was found."""
    drawn = torch.cat([draw(_placed(scene, found.radius or scene.radius, center), 1) for center in found.centres])
    return math.sqrt(float((clip - drawn).square().mean()))


def _placed(scene: Scene, radius: float, center: tuple[float, float] | None) -> Scene:
    """A still scene with its center in a place; outside the frame where there is none."""
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
