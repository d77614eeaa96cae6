"""Prompts of held-out combinations, which the bundled model never saw in training."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .captions import LANGUAGES, caption
from .world import Scene, random_scene


@dataclass(frozen=True)
class Prompt:
    """A text, and the scene that it describes.

    Args:
        text: the caption.
        language: one of ``captions.LANGUAGES``.
        scene: color, shape, background and direction are those of the text; speed, size and position are random.
    """

    text: str
    language: str
    scene: Scene


def held_out_prompts(count: int, seed: int = 0) -> list[Prompt]:
    """Distinct prompts of held-out combinations, with alternating languages.

    Args:
        count: at least 1 and at most the number of held-out combinations, see ``world.is_held_out``.
        seed: random seed; the first prompts do not depend on ``count``.
    """
    rng = random.Random(f"paper tables {seed}")
    prompts: list[Prompt] = []
    seen = set()
    while len(prompts) < count:
        scene = random_scene(rng, held_out=True, outline_share=0.0)
        names = (scene.color, scene.shape, scene.background, scene.direction)
        if names not in seen:
            seen.add(names)
            language = LANGUAGES[len(prompts) % len(LANGUAGES)]
            prompts.append(Prompt(caption(scene, rng, language), language, scene))
    return prompts
