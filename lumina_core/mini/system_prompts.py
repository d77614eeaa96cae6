"""System prompts of the mini world's data sources (paper section 3.4, multi-source training).

The bundled model was trained with exactly these texts.
"""

from __future__ import annotations

from ..text.gemma import SYSTEM_PROMPT

_FORM = (
    "You are an assistant designed to generate {what} with the highest degree of image-text alignment "
    "based on user prompts. <Prompt Start> "
)
# By data source.
SYSTEM_PROMPTS = {
    "clips": SYSTEM_PROMPT,
    "pictures": _FORM.format(what="high-quality images"),  # wording: ok
    "outlines": _FORM.format(what="line drawings"),
}
