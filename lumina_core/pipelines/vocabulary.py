"""The words that the captions of a small model's training data have, and what it makes of a prompt with others."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass

# Chinese characters; the language has no spaces between words.
_HAN = "\u3400-\u9fff"
_WORDS = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Words and phrases of the training captions, in all their languages.

    Args:
        shapes: what the model draws, one in each clip.
        colors: of the shapes.
        backgrounds: colors of the background.
        directions: of the motion.
        others: the remaining words, such as articles and verbs.
    """

    shapes: tuple[str, ...]
    colors: tuple[str, ...]
    backgrounds: tuple[str, ...]
    directions: tuple[str, ...]
    others: tuple[str, ...]

    def unknown(self, text: str) -> list[str]:
        """The words of a text that no training caption has, in order and without repetition."""
        latin = {word for phrase in self._phrases() for word in _WORDS.findall(phrase)}
        found: dict[str, None] = {}
        for word in _WORDS.findall(text.lower()):
            if _is_han(word):
                found |= dict.fromkeys(self._unknown_han(word))
            elif word not in latin:
                found[word] = None
        return list(found)

    def named_shapes(self, text: str) -> list[str]:
        """The different shape words of a text, in the order of ``shapes``."""
        words = _WORDS.findall(text.lower())
        latin = set(words)
        named = [shape for shape in self.shapes if shape in latin]
        rest = " ".join(word for word in words if _is_han(word))
        # The longest first, because a word may be the beginning of another one.
        for shape in sorted(filter(_is_han, self.shapes), key=len, reverse=True):
            if shape in rest:
                named.append(shape)
                rest = rest.replace(shape, " ")
        return named

    def summary(self, chinese: bool) -> str:
        """What the model knows, as a clause with the words of one language."""
        shapes, colors, backgrounds, directions = (
            _shortest([phrase for phrase in part if _is_han(phrase) == chinese])
            for part in (self.shapes, self.colors, self.backgrounds, self.directions)
        )
        return (
            f"the shapes {', '.join(shapes)}; the colors {', '.join(colors)}; the backgrounds "
            f"{', '.join(backgrounds)}; the directions {', '.join(directions)}"
        )

    def _phrases(self) -> tuple[str, ...]:
        return tuple(phrase.lower() for part in astuple(self) for phrase in part)

    def _unknown_han(self, run: str) -> list[str]:
        """The unknown parts of Chinese text without spaces. It is read from left to right, longest phrases first."""
        phrases = sorted(filter(_is_han, self._phrases()), key=len, reverse=True)
        # The connecting words are single characters, in any combination.
        characters = {character for phrase in self.others if _is_han(phrase) for character in phrase}
        unknown, place, last = [""], 0, len(run)
        while place < last:
            phrase = next((phrase for phrase in phrases if run.startswith(phrase, place)), "")
            if not phrase and run[place] not in characters:
                unknown[-1] += run[place]
            elif unknown[-1]:
                unknown.append("")
            place += len(phrase) or 1
        return [part for part in unknown if part]


def unlearned_words(name: str, vocabulary: Vocabulary | None, text: str, what: str = "prompt") -> str | None:
    """A sentence for the user if a prompt has words that a model does not know, or names several shapes, or None.

    Args:
        name: of the model.
        vocabulary: of the model; None if it is not known.
        text: the prompt.
        what: what the sentence calls it, such as ``negative prompt``.
    """
    if vocabulary is None:
        return None
    unknown, shapes = vocabulary.unknown(text), vocabulary.named_shapes(text)
    if not unknown and len(shapes) < 2:
        return None
    chinese = any(map(_is_han, text))
    parts = []
    if unknown:
        parts.append(f"{name} does not know {_listed(unknown)} of the {what}, so it guesses or ignores them")
    if len(shapes) > 1:
        parts.append(f"{name} draws one shape in a clip, and the {what} names {_listed(shapes)}")
    return f"{'; '.join(parts)}. It knows {vocabulary.summary(chinese)}, in English and Chinese."


def _listed(words: list[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _is_han(text: str) -> bool:
    return bool(re.search(f"[{_HAN}]", text))


def _shortest(phrases: list[str]) -> list[str]:
    """The phrases without those that only add words to another one, such as ``to the right`` to ``right``."""

    def longer(phrase: str) -> bool:
        inside = phrase if _is_han(phrase) else phrase.split()
        return any(other != phrase and other in inside for other in phrases)

    return [phrase for phrase in phrases if not longer(phrase)]
