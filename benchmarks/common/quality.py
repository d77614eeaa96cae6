"""Quality of clips: what the judge reads in them against the prompt, sharpness, distance to the drawn scene."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from benchmarks.common.comparison import mean
from benchmarks.common.mini_clips import Prompt
from lumina_core.mini.draw import draw
from lumina_core.mini.judge import Verdict, judge
from lumina_core.mini.world import MARGIN, SIDE, Scene

ASKED = ("color", "shape", "direction", "background")
# Whose mean is the accuracy.
COUNTED = ("color", "shape", "direction")


@dataclass(frozen=True)
class ClipQuality:
    """One clip: 1 or 0 for each name of the prompt, sharpness, and distance to the drawn scene."""

    color: float
    shape: float
    direction: float
    background: float
    sharpness: float
    distance: float

    @property
    def accuracy(self) -> float:
        return mean([getattr(self, name) for name in COUNTED])


MEASURES = (*ASKED, "accuracy", "sharpness", "distance")


def measure(clip: torch.Tensor, prompt: Prompt) -> ClipQuality:
    """Judge one clip against its prompt."""
    found = judge(clip)
    right = {name: float(getattr(found, name) == getattr(prompt.scene, name)) for name in ASKED}
    return ClipQuality(**right, sharpness=found.sharpness, distance=distance_to_truth(clip, found, prompt.scene))


def measure_all(clips: list[torch.Tensor], prompts: list[Prompt]) -> list[ClipQuality]:
    return [measure(clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]


def means(qualities: list[ClipQuality]) -> dict[str, float]:
    return {name: mean([getattr(quality, name) for quality in qualities]) for name in MEASURES}


def distance_to_truth(clip: torch.Tensor, found: Verdict, scene: Scene) -> float:
    """Root mean square difference (values 0..1) from the prompt's scene, drawn where and as large as it was found."""
    drawn = torch.cat([draw(_placed(scene, found.radius or scene.radius, centre), 1) for centre in found.centres])
    return math.sqrt(float((clip - drawn).square().mean()))


def _placed(scene: Scene, radius: float, centre: tuple[float, float] | None) -> Scene:
    """A still scene with its centre in a place; outside the frame where there is none."""
    x, y = centre or (-SIDE, -SIDE)
    room = SIDE / 2 - radius - MARGIN
    return replace(
        scene,
        direction="right",
        speed=0.0,
        radius=radius,
        along=(x - SIDE / 2) / room,
        across=(y - SIDE / 2) / room,
    )
