"""The world of the mini model: the content of its drawn clips."""

from __future__ import annotations

import random
from dataclasses import dataclass

SIDE = 64  # width and height of a frame in pixels
FRAMES = 32  # frames of a clip
FPS = 8

# Names are training data of the bundled model. Values are RGB of 255.
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
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}  # unit steps (x, y), with y downward

SMALLEST_RADIUS, LARGEST_RADIUS = 10.0, 13.0  # pixels
MARGIN = 2.0  # pixels between a bouncing shape and the edge of the frame
SLOWEST, FASTEST = 0.1, 2.4  # pixels per frame


@dataclass(frozen=True)
class Scene:
    """Content of one clip: a shape that moves over a background.

    Args:
        color: a key of ``COLORS``.
        shape: one of ``SHAPES``.
        background: a key of ``BACKGROUNDS``.
        direction: a key of ``DIRECTIONS``.
        speed: pixels per frame, 0 for a still image.
        radius: half the extent of the shape in pixels.
        along, across: center of the path, -1 to 1 of the available room along and across the direction.
        outline: whether to draw an outline instead of a filled shape, as in the third data source.
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
        """Largest distance of the shape's center from the middle of the frame in pixels."""
        return SIDE / 2 - self.radius - MARGIN

    def bounces(self, frames: int = FRAMES) -> bool:
        """Whether the shape bounces off the edge of the frame within ``frames``."""
        return self.speed * (frames - 1) > 2 * self.room

    def position(self, frame: int, frames: int = FRAMES) -> tuple[float, float]:
        """Center (x, y) in pixels. A shape that bounces starts at the near edge."""
        length = self.speed * (frames - 1)
        room = self.room
        if self.bounces(frames):
            traveled = self.speed * frame % (4 * room)
            offset = traveled - room if traveled <= 2 * room else 3 * room - traveled
        else:
            offset = self.speed * frame - length / 2 + self.along * (room - length / 2)
        step_x, step_y = DIRECTIONS[self.direction]
        aside = self.across * room
        middle = SIDE / 2
        return middle + step_x * offset + abs(step_y) * aside, middle + step_y * offset + abs(step_x) * aside


def combination(scene: Scene) -> tuple[str, str, str, str]:
    """What a prompt names: color, shape, background and direction."""
    return scene.color, scene.shape, scene.background, scene.direction


def is_held_out(names: tuple[str, str, str, str]) -> bool:
    """Whether a combination is kept out of training: a fixed fifth of all, so that training sees every single name."""
    indices = (
        list(COLORS).index(names[0]),
        SHAPES.index(names[1]),
        list(BACKGROUNDS).index(names[2]),
        list(DIRECTIONS).index(names[3]),
    )
    return sum(indices) % 5 == 0


def random_scene(
    rng: random.Random, *, still: bool = False, held_out: bool = False, outline_share: float = 0.1
) -> Scene:
    """A random scene with a uniformly distributed speed.

    Args:
        rng: source of randomness.
        still: whether the speed is 0.
        held_out: whether to draw a held-out combination instead of a training combination.
        outline_share: probability of an outline.
    """
    while True:
        names = (
            rng.choice(list(COLORS)),
            rng.choice(SHAPES),
            rng.choice(list(BACKGROUNDS)),
            rng.choice(list(DIRECTIONS)),
        )
        if is_held_out(names) == held_out:
            break
    return Scene(
        *names,
        speed=0.0 if still else rng.uniform(SLOWEST, FASTEST),
        radius=rng.uniform(SMALLEST_RADIUS, LARGEST_RADIUS),
        along=rng.uniform(-0.6, 0.6),
        across=rng.uniform(-0.6, 0.6),
        outline=rng.random() < outline_share,
    )
