"""Verbatim tokens of a prompt, from any CLIP with a Gemma text encoder."""

from __future__ import annotations

from typing import Any

from comfy.sd1_clip import SDTokenizer
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer

from ...lumina_core.pipelines.bundle import unlearned_prompt
from ...lumina_core.text.gemma import check_text


def plain_tokens(clip, text: str) -> dict[str, list[list[tuple]]]:
    """Tokens in the form of ``clip.tokenize``, with no part of the text read as syntax.

    Even with weights disabled the host drops the backslash of ``\\(`` and splits the text at ``embedding:``, and some
    versions lose the space before it or the first token of a text with ``<end_of_turn>``. So this calls the host's
    SentencePiece tokenizer directly.

    Raises:
        LuminaError: the text contains an unpaired surrogate.
    """
    check_text(text)
    name, tokenizer = _sentencepiece(clip)
    if tokenizer is None:
        return clip.tokenize(text, disable_weights=True)
    ids = tokenizer.tokenizer(text)["input_ids"]
    if ids[:1] != [tokenizer.start_token]:
        ids = [tokenizer.start_token, *ids]
    return {name: [[(token, 1.0) for token in ids]]}


def plain_text(clip, ids: list[int]) -> str:
    """The text of token ids from ``plain_tokens``; empty if the tokenizer of the CLIP cannot decode."""
    _, tokenizer = _sentencepiece(clip)
    if tokenizer is not None:
        return tokenizer.tokenizer.tokenizer.decode(ids)
    return clip.tokenizer.decode(ids) if hasattr(clip.tokenizer, "decode") else ""


def unlearned_text(clip, text: str, what: str = "prompt") -> list[str]:
    """A warning in a list if the CLIP is that of a small model that does not know words of the text, else none."""
    bundle = getattr(clip.tokenizer, "bundle", None)
    warning = unlearned_prompt(bundle, text, what) if bundle else None
    return [warning] if warning else []


def check_texts(**texts: str | None) -> None:
    """`check_text` for inputs by name; None is a linked input, whose text is not known yet. Raises LuminaError."""
    for name, text in texts.items():
        check_text(text or "", name)


def _sentencepiece(clip) -> tuple[str, SDTokenizer | None]:
    """Name of the tokens and SentencePiece tokenizer of a CLIP that the host loaded; None for other tokenizers."""
    name = getattr(clip.tokenizer, "clip_name", "")
    part: Any = getattr(clip.tokenizer, getattr(clip.tokenizer, "clip", ""), None)
    if isinstance(part, SDTokenizer) and isinstance(part.tokenizer, SPieceTokenizer):
        return name, part
    return name, None
