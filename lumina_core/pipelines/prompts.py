"""Text features of prompts. Each prompt is encoded alone, so that no clip depends on the others of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import LuminaError
from ..sampling.text import Text, stack_texts
from ..text.gemma import MAX_TOKENS, TextEncoder, beginning, check_text


@dataclass(frozen=True)
class EncodedPrompts:
    """Text features of clips.

    Args:
        positive, negative: for each clip, features (1, L, D) and bool mask (1, L) of its prompt and negative prompt.
    """

    positive: tuple[Text, ...]
    negative: tuple[Text, ...]

    def __len__(self) -> int:
        """How many clips."""
        return len(self.positive)

    def check_count(self, results: int) -> None:
        """Raise LuminaError if the number of prompts is not ``results``."""
        check_prompt_count(len(self), results)

    def batch(self, clips: slice) -> tuple[Text, Text]:
        """Prompts and negative prompts of some clips: features (B, L, D), padded on the right, and masks (B, L)."""
        return stack_texts(self.positive[clips]), stack_texts(self.negative[clips])


def check_prompt_count(prompts: int, results: int) -> None:
    """Raise LuminaError if there is not one prompt for each of the latents of a batch."""
    if prompts != results:
        raise LuminaError(
            f"The latents have a batch size of {results} and there are {prompts} prompts; give as many of both.",
            field="latents",
            kind="value",
        )


def check_prompts(prompt: str | Sequence[str], negative_prompt: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Lists of prompts and of as many negative prompts.

    Args:
        prompt: one text or several.
        negative_prompt: one for all, or one for each.

    Raises:
        LuminaError: there is no prompt, the counts differ, or one is not a string of valid Unicode.
    """
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    negatives = [negative_prompt] * len(prompts) if isinstance(negative_prompt, str) else list(negative_prompt)
    if not prompts:
        raise LuminaError("There is no prompt; give one text, or a list of at least one.", field="prompt", kind="value")
    if len(negatives) != len(prompts):
        raise LuminaError(
            f"There are {len(negatives)} negative prompts for {len(prompts)} prompts; give one, or one for each.",
            field="negative_prompt",
            kind="value",
        )
    for field, texts in (("prompt", prompts), ("negative_prompt", negatives)):
        for text in texts:
            if not isinstance(text, str):
                raise LuminaError(f"{field} has a {type(text).__name__}; give a string.", field=field, kind="value")
            check_text(text, field.replace("_", " "))
    return prompts, negatives


def encode_prompts(
    encoder: TextEncoder, prompts: Sequence[str], negatives: Sequence[str], note: Callable[[str], None]
) -> EncodedPrompts:
    """Encode prompts and as many negative prompts, equal texts only once.

    Args:
        encoder: text encoder.
        prompts, negatives: one of each for each clip.
        note: called with a sentence for each text that was truncated.
    """
    known: dict[str, Text] = {}

    def features(text: str, name: str) -> Text:
        if text not in known:
            encoded = encoder.encode([text])
            if cut := encoded.truncated[0]:
                note(
                    f"The {name} is too long: its last {cut} tokens were cut; {MAX_TOKENS} fit, system prompt "
                    f"included, so this is left out: '{beginning(encoded.left_out[0])}'."
                )
            known[text] = encoded.features.clone(), encoded.mask
        return known[text]

    return EncodedPrompts(
        tuple(features(text, "prompt") for text in prompts),
        tuple(features(text, "negative prompt") for text in negatives),
    )
