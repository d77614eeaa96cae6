"""Captions of drawn clips and images, in English and Chinese, in several wordings.

The words are training data of the bundled model and of its tokenizer, so they must not change.
"""

from __future__ import annotations

import random
import re

from .world import Scene

ENGLISH, CHINESE = "en", "zh"
LANGUAGES = (ENGLISH, CHINESE)

SHAPE_WORDS = {
    ENGLISH: {
        "circle": ("circle", "circle", "ball", "disc"),
        "square": ("square", "square", "box"),
        "triangle": ("triangle", "triangle", "pyramid"),
        "star": ("star",),
    },
    CHINESE: {
        "circle": ("圆形", "圆", "球"),
        "square": ("正方形", "方块"),
        "triangle": ("三角形",),
        "star": ("星星", "五角星"),
    },
}
COLOR_WORDS = {
    ENGLISH: {name: (name,) for name in ("red", "yellow", "green", "cyan", "blue", "purple", "white")},
    CHINESE: {
        "red": ("红色",),
        "yellow": ("黄色",),
        "green": ("绿色",),
        "cyan": ("青色",),
        "blue": ("蓝色",),
        "purple": ("紫色",),
        "white": ("白色",),
    },
}
BACKGROUND_WORDS = {
    ENGLISH: {
        "black": ("black",),
        "grey": ("grey", "gray"),
        "navy": ("navy", "dark blue", "navy blue"),
        "brown": ("brown",),
        "forest": ("dark green", "forest green"),
    },
    CHINESE: {
        "black": ("黑色",),
        "grey": ("灰色",),
        "navy": ("深蓝色",),
        "brown": ("棕色",),
        "forest": ("深绿色",),
    },
}
DIRECTION_WORDS = {
    ENGLISH: {
        "right": ("to the right", "right", "from left to right"),
        "left": ("to the left", "left", "from right to left"),
        "up": ("up", "upwards", "to the top"),
        "down": ("down", "downwards", "to the bottom"),
    },
    CHINESE: {
        "right": ("向右", "从左向右"),
        "left": ("向左", "从右向左"),
        "up": ("向上",),
        "down": ("向下",),
    },
}
VERB_WORDS = {
    ENGLISH: ("moves", "moves", "moving", "slides", "drifts", "flies", "goes"),
    CHINESE: ("移动", "移动", "飞", "滑动"),
}
CLIP_WORDINGS = {
    ENGLISH: (
        "A {color} {shape} {verb} {direction} on a {background} background.",
        "a {color} {shape} {verb} {direction}, {background} background",
        "On a {background} background, a {color} {shape} {verb} {direction}.",
        "{color} {shape} {verb} {direction} in front of a {background} wall",
    ),
    CHINESE: (
        "一个{color}的{shape}在{background}背景上{direction}{verb}。",
        "{background}背景，{color}{shape}{direction}{verb}",
        "在{background}的背景前，{color}的{shape}{direction}{verb}。",
    ),
}
STILL_WORDINGS = {
    ENGLISH: (
        "A {color} {shape} on a {background} background.",
        "a {color} {shape}, {background} background",
        "On a {background} background, there is a {color} {shape}.",
    ),
    CHINESE: (
        "{background}背景上的一个{color}{shape}。",
        "{background}背景，{color}的{shape}",
    ),
}


def caption(scene: Scene, rng: random.Random, language: str = ENGLISH) -> str:
    """A random caption of a scene. It names the direction if the scene moves, and never the speed.

    Args:
        scene: what to describe.
        rng: chooses the wording.
        language: one of ``LANGUAGES``.
    """
    wordings = (CLIP_WORDINGS if scene.speed else STILL_WORDINGS)[language]
    return rng.choice(wordings).format(
        color=rng.choice(COLOR_WORDS[language][scene.color]),
        shape=rng.choice(SHAPE_WORDS[language][scene.shape]),
        background=rng.choice(BACKGROUND_WORDS[language][scene.background]),
        direction=rng.choice(DIRECTION_WORDS[language][scene.direction]),
        verb=rng.choice(VERB_WORDS[language]),
    )


def vocabulary() -> dict[str, list[str]]:
    """The fields of ``pipelines.vocabulary.Vocabulary``: the captions' words in both languages."""

    def phrases(table: dict[str, dict[str, tuple[str, ...]]]) -> list[str]:
        entries = [entry for language in LANGUAGES for entry in table[language].values()]
        return list(dict.fromkeys(text for entry in entries for text in entry))

    wordings = [*CLIP_WORDINGS[CHINESE], *STILL_WORDINGS[CHINESE]]
    content = {
        "shapes": phrases(SHAPE_WORDS),
        "colors": phrases(COLOR_WORDS),
        "backgrounds": phrases(BACKGROUND_WORDS),
        "directions": phrases(DIRECTION_WORDS),
    }
    named = {word for part in content.values() for phrase in part for word in phrase.split()}
    others = [word for word in words() if word not in named]
    others += dict.fromkeys(VERB_WORDS[CHINESE])
    connecting = "".join(re.sub(r"\{\w+\}", "", wording) for wording in wordings)
    others += sorted({character for character in connecting if character.isalnum()})
    return {**content, "others": others}


def words() -> list[str]:
    """The English words of the captions, in lower case and without repetition."""
    found: dict[str, None] = {}
    tables = (SHAPE_WORDS, COLOR_WORDS, BACKGROUND_WORDS, DIRECTION_WORDS)
    texts = [text for table in tables for entry in table[ENGLISH].values() for text in entry]
    texts += [*VERB_WORDS[ENGLISH], *CLIP_WORDINGS[ENGLISH], *STILL_WORDINGS[ENGLISH]]
    for text in texts:
        for word in text.lower().replace(",", " ").replace(".", " ").split():
            if "{" not in word:
                found[word] = None
    return list(found)


def characters() -> list[str]:
    """The Chinese characters and punctuation of the captions, without repetition."""
    tables = (SHAPE_WORDS, COLOR_WORDS, BACKGROUND_WORDS, DIRECTION_WORDS)
    texts = [text for table in tables for entry in table[CHINESE].values() for text in entry]
    texts += [*VERB_WORDS[CHINESE], *CLIP_WORDINGS[CHINESE], *STILL_WORDINGS[CHINESE]]
    return sorted({character for text in texts for character in text if not character.isascii()})
