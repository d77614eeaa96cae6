"""Tokens of a prompt taken verbatim, from any CLIP that holds a Gemma."""

from __future__ import annotations

from typing import Any

from comfy.sd1_clip import SDTokenizer
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer

from ...lumina_core.text.gemma import check_text


def plain_tokens(clip, text: str) -> dict[str, list[list[tuple]]]:
    """What ``clip.tokenize`` gives, with nothing in the text read as syntax.

    With weights switched off the host still drops the backslash of ``\\(`` and cuts the text apart at ``embedding:``,
    and its versions lose the space before that or the first token of a text with ``<end_of_turn>``; so its
    SentencePiece is asked directly.
    Raises LuminaError for a text with half a character.
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
    """The text of token ids that ``plain_tokens`` gave; empty where the CLIP is of a kind that cannot tell."""
    _, tokenizer = _sentencepiece(clip)
    if tokenizer is not None:
        return tokenizer.tokenizer.tokenizer.decode(ids)
    return clip.tokenizer.decode(ids) if hasattr(clip.tokenizer, "decode") else ""


def check_texts(**texts: str | None) -> None:
    """`check_text` for inputs by their names; None is a link, whose text is not known yet."""
    for name, text in texts.items():
        check_text(text or "", name)


def _sentencepiece(clip) -> tuple[str, SDTokenizer | None]:
    """Name of its tokens and the tokenizer of a CLIP that the host loaded; none for ours and for other kinds."""
    name = getattr(clip.tokenizer, "clip_name", "")
    part: Any = getattr(clip.tokenizer, getattr(clip.tokenizer, "clip", ""), None)
    if isinstance(part, SDTokenizer) and isinstance(part.tokenizer, SPieceTokenizer):
        return name, part
    return name, None
