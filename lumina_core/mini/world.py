"""The small world that the mini model knows: what a drawn clip can show, and one clip's description."""

from __future__ import annotations

import random
from dataclasses import dataclass

SIDE = 64
"""Width and height of a drawn picture in pixels."""
FRAMES = 32
FPS = 8

COLORS = {
    "red": (225, 40, 45),
    "yellow": (245, 220, 50),
    "green": (50, 200, 70),
    "cyan": (60, 215, 225),
    "blue": (50, 85, 235),
    "purple": (190, 60, 215),
    "white": (245, 245, 245),
}
BACKGROUNDS = {
    "black": (12, 12, 16),
    "grey": (105, 105, 110),
    "navy": (22, 28, 80),
    "brown": (95, 60, 35),
    "forest": (20, 70, 40),
}
SHAPES = ("circle", "square", "triangle", "star")
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}
"""Unit steps (x, y); y grows downwards."""

SMALLEST_RADIUS, LARGEST_RADIUS = 10.0, 13.0
MARGIN = 2.0
"""Pixels between a shape at its turning point and the picture's edge."""
SLOWEST, FASTEST = 0.1, 2.4
"""Pixels per frame."""


@dataclass(frozen=True)
class Scene:
    """One clip: what moves where.

    Args:
        speed: pixels per frame, 0 for a still.
        radius: half the shape's extent in pixels.
        along, across: centre of the path as a share of the room there is, -1 to 1, along and across the direction.
        outline: drawn as an outline, the look of the second data source.
    """

    color: str
    shape: str
    background: str
    direction: str
    speed: float
    radius: float
    along: float = 0.0
    across: float = 0.0
    outline: bool = False

    @property
    def room(self) -> float:
        """Pixels that the centre may leave the middle of the picture by."""
        return SIDE / 2 - self.radius - MARGIN

    def bounces(self, frames: int = FRAMES) -> bool:
        """Whether the shape meets the picture's edge and turns back within ``frames``."""
        return self.speed * (frames - 1) > 2 * self.room

    def position(self, frame: int, frames: int = FRAMES) -> tuple[float, float]:
        """Centre (x, y) in pixels. A clip too fast for the picture starts at the near edge and turns at the far one."""
        length = self.speed * (frames - 1)
        room = self.room
        if self.bounces(frames):
            travelled = self.speed * frame % (4 * room)
            offset = travelled - room if travelled <= 2 * room else 3 * room - travelled
        else:
            offset = self.speed * frame - length / 2 + self.along * (room - length / 2)
        step_x, step_y = DIRECTIONS[self.direction]
        aside = self.across * room
        middle = SIDE / 2
        return middle + step_x * offset + abs(step_y) * aside, middle + step_y * offset + abs(step_x) * aside


def combination(scene: Scene) -> tuple[str, str, str, str]:
    """What a prompt names: color, shape, background, direction."""
    return scene.color, scene.shape, scene.background, scene.direction


def held_out(names: tuple[str, str, str, str]) -> bool:
    """Whether a combination is kept out of training: a fixed fifth of all, every single name still being seen."""
    numbers = (
        list(COLORS).index(names[0]),
        SHAPES.index(names[1]),
        list(BACKGROUNDS).index(names[2]),
        list(DIRECTIONS).index(names[3]),
    )
    return (numbers[0] + numbers[1] + numbers[2] + numbers[3]) % 5 == 0


def random_scene(rng: random.Random, *, still: bool = False, held: bool = False, outline_share: float = 0.1) -> Scene:
    """A scene of the training combinations, or with ``held`` of the others. Slow speeds are as likely as fast ones."""
    while True:
        names = (
            rng.choice(list(COLORS)),
            rng.choice(SHAPES),
            rng.choice(list(BACKGROUNDS)),
            rng.choice(list(DIRECTIONS)),
        )
        if held_out(names) == held:
            break
    return Scene(
        *names,
        speed=0.0 if still else rng.uniform(SLOWEST, FASTEST),
        radius=rng.uniform(SMALLEST_RADIUS, LARGEST_RADIUS),
        along=rng.uniform(-0.6, 0.6),
        across=rng.uniform(-0.6, 0.6),
        outline=rng.random() < outline_share,
    )
