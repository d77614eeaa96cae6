"""The data sources of the mini world, told apart by their system prompts (paper section 3.4, multi-source training)."""

from __future__ import annotations

from ..text.gemma import SYSTEM_PROMPT

_FORM = (
    "You are an assistant designed to generate {what} with the highest degree of image-text alignment "
    "based on user prompts. <Prompt Start> "
)
SYSTEM_PROMPTS = {
    "clips": SYSTEM_PROMPT,
    "pictures": _FORM.format(what="high-quality images"),
    "outlines": _FORM.format(what="line drawings"),
}
