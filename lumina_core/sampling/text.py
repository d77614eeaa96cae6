"""Text features as the samplers take them, and batches of texts of different lengths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

# Features (B or 1, S, D) and bool mask (B or 1, S).
MaskedText = tuple[torch.Tensor, torch.Tensor]
# The same; no mask attends to every token.
Text = tuple[torch.Tensor, torch.Tensor | None]


def pad_text(text: Text, length: int) -> MaskedText:
    """A text padded on the right to ``length`` tokens, with the padding masked."""
    features, mask = text
    if mask is None:
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    missing = length - features.shape[1]
    return F.pad(features, (0, 0, 0, missing)), F.pad(mask.bool(), (0, missing))


def stack_texts(texts: Sequence[Text], batch: int = -1) -> MaskedText:
    """All texts as one batch, padded on the right to the longest one, with the padding masked.

    Args:
        texts: one or several.
        batch: samples that each text, with a batch size of 1 or ``batch``, is expanded to; -1 leaves them as they are.

    Returns:
        Features (samples of all texts, S, D) and bool mask (samples of all texts, S).
    """
    longest = max(features.shape[1] for features, _ in texts)
    padded = [pad_text(text, longest) for text in texts]
    features = torch.cat([features.expand(batch, -1, -1) for features, _ in padded])
    return features, torch.cat([mask.expand(batch, -1) for _, mask in padded])
