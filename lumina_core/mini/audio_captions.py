"""Captions of clips with audio, in English and Chinese: of the image, the sound, or both."""

from __future__ import annotations

import random

from .audio_world import BELL, DRUM, WOOD, AudioScene
from .captions import CHINESE, COLOR_WORDS, ENGLISH, SHAPE_WORDS, caption

MATERIAL_WORDS = {
    ENGLISH: {
        BELL: ("a bell", "bells", "a ringing bell"),
        WOOD: ("wood", "a wooden block", "knocking on wood"),
        DRUM: ("a drum", "drums", "a beaten drum"),
    },
    CHINESE: {BELL: ("钟声", "铃声"), WOOD: ("木头声", "敲木头的声音"), DRUM: ("鼓声", "敲鼓的声音")},
}
AUDIO_WORDINGS = {
    ENGLISH: ("The sound of {material}.", "sound of {material}", "It sounds like {material}."),
    CHINESE: ("{material}。", "听起来像{material}。"),
}
PAIR_WORDINGS = {
    ENGLISH: ("Two {color} {shape}s collide.", "two {color} {shape}s meet and turn back"),
    CHINESE: ("两个{color}的{shape}相撞。",),
}


def audio_caption(scene: AudioScene, rng: random.Random, language: str = ENGLISH) -> str:
    """A caption of a scene. If it names the material, it omits the image in half of the cases."""
    visual = _visual_caption(scene, rng, language)
    if not scene.names_material:
        return visual
    sound = material_caption(scene.material, rng, language)
    return sound if rng.random() < 0.5 else f"{visual} {sound}"


def material_caption(material: str, rng: random.Random, language: str = ENGLISH) -> str:
    """A caption of the sound alone."""
    return rng.choice(AUDIO_WORDINGS[language]).format(material=rng.choice(MATERIAL_WORDS[language][material]))


def _visual_caption(scene: AudioScene, rng: random.Random, language: str) -> str:
    if not scene.pair:
        return caption(scene.visual, rng, language)
    return rng.choice(PAIR_WORDINGS[language]).format(
        color=rng.choice(COLOR_WORDS[language][scene.visual.color]),
        shape=rng.choice(SHAPE_WORDS[language][scene.visual.shape]),
    )


def sound_words() -> list[str]:
    """The English words of these captions, in lower case and without repetition."""
    texts = [text for entry in MATERIAL_WORDS[ENGLISH].values() for text in entry]
    texts += [*AUDIO_WORDINGS[ENGLISH], *PAIR_WORDINGS[ENGLISH]]
    texts += [f"{text}s" for entry in SHAPE_WORDS[ENGLISH].values() for text in entry]
    found: dict[str, None] = {}
    for text in texts:
        for word in text.lower().replace(",", " ").replace(".", " ").split():
            if "{" not in word:
                found[word] = None
    return list(found)


def sound_characters() -> list[str]:
    """The Chinese characters and punctuation of these captions, without repetition."""
    texts = [text for entry in MATERIAL_WORDS[CHINESE].values() for text in entry]
    texts += [*AUDIO_WORDINGS[CHINESE], *PAIR_WORDINGS[CHINESE]]
    return sorted({character for text in texts for character in text if not character.isascii()})
