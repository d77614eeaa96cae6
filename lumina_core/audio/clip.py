"""CLIP features for Video to Audio: one vector per frame, and the last hidden states of all tokens of a text.

Preprocessing and the choice of features follow MMAudio (hkchengrex/MMAudio, mmaudio/model/utils/features_utils.py).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from ..text.gemma import check_text

# Per-channel mean and standard deviation of OpenAI's CLIP, which DFN's models share.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
# Resize size by input size: DFN5B takes the upper left 378 pixels of a 384-pixel frame (27 patches of 14).
_RESIZE = {378: 384}
_BATCH = 16  # frames per forward pass


class ClipFeatures(torch.nn.Module):
    """A transformers CLIP model and its tokenizer. Created by ``load_clip``."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any) -> None:
        super().__init__()
        # A transformers CLIPModel, whose attributes torch.nn.Module does not declare.
        self.model: Any = model
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """Width of a frame's vector."""
        return self.model.config.projection_dim

    @property
    def text_width(self) -> int:
        """Width of a token's hidden state."""
        return self.model.config.text_config.hidden_size

    @property
    def text_tokens(self) -> int:
        """Tokens per text, including padding."""
        return self.model.config.text_config.max_position_embeddings

    @property
    def side(self) -> int:
        """Side of the square input images in pixels."""
        return self.model.config.vision_config.image_size

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.logit_scale.device

    @torch.no_grad()
    def visual(self, frames: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, width), float32 on the model's device, of frames (n, H, W, 3) in 0..1.

        Frames are resized to a square without keeping their aspect ratio. Raises LuminaError if the features are not
        finite.
        """
        parts = [self.run_visual(self.pixels(part)) for part in frames.split(_BATCH)]
        return _unit(torch.cat(parts))

    @torch.no_grad()
    def text(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit vectors of all tokens, (B, text_tokens, text_width) float32, and their mask, True on real tokens.

        Longer texts are truncated. Raises LuminaError for anything but a non-empty list of strings, for invalid
        Unicode, and if the features are not finite.
        """
        if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
            raise LuminaError(
                f"texts is {texts!r}, expected a list of strings; wrap a single one in [].", field="texts", kind="value"
            )
        for text in texts:
            check_text(text)
        states, mask = self.run_text(texts)
        return _unit(states), mask

    def run_visual(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors (n, width) of preprocessed images, see ``pixels``; with gradients and not normalized."""
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    def run_text(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states and mask as in ``text``, with gradients, not normalized and without checks."""
        length = self.text_tokens
        rows = self.tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
        ids = torch.zeros(len(rows), length, dtype=torch.long)  # attention is causal, so no token sees the padding
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = True
        ids, mask = ids.to(self.device), mask.to(self.device)
        return self.model.text_model(input_ids=ids).last_hidden_state, mask

    def pixels(self, frames: torch.Tensor) -> torch.Tensor:
        """Preprocess frames (n, H, W, 3) in 0..1 to the model's input (n, 3, side, side), normalized per channel."""
        dtype = self.model.logit_scale.dtype
        images = frames.to(self.device, torch.float32).permute(0, 3, 1, 2)
        size = _RESIZE.get(self.side, self.side)
        if images.shape[2:] != (size, size):
            images = F.interpolate(images, (size, size), mode="bicubic", antialias=True)
        images = images.clamp(0, 1)[:, :, : self.side, : self.side]
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        return ((images - mean) / std).to(dtype)


def _unit(features: torch.Tensor) -> torch.Tensor:
    features = features.float()
    if not features.isfinite().all():
        raise LuminaError(
            "CLIP returned NaN or infinite values; load it in float32, or download the weights again.",
            field="clip",
            kind="numerics",
        )
    return F.normalize(features, dim=-1)
