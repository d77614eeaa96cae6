"""CLIP as V2A reads it: one vector for each frame, and the states of all tokens of a text.

Preprocessing and the choice of states follow MMAudio (hkchengrex/MMAudio), which the paper names for its data.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from ..text.gemma import check_text

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_SPREAD = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue: OpenAI's numbers, which DFN's networks share."""
_LARGER = {378: 384}
"""DFN5B sees the upper left 378 pixels of a frame of 384, whose last columns its patches of 14 never reach."""
_FRAMES_AT_ONCE = 16


class ClipFeatures(torch.nn.Module):
    """A CLIP network of transformers with its tokenizer. Made by `load_clip`."""

    def __init__(self, model: torch.nn.Module, tokenizer) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """Of a frame's vector."""
        return self.model.config.projection_dim

    @property
    def text_width(self) -> int:
        """Of a token's state."""
        return self.model.config.text_config.hidden_size

    @property
    def text_tokens(self) -> int:
        """Tokens of a text, padding included."""
        return self.model.config.text_config.max_position_embeddings

    @property
    def side(self) -> int:
        """Of the square pictures that the network sees, in pixels."""
        return self.model.config.vision_config.image_size

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    @torch.no_grad()
    def visual(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (n, H, W, 3) in 0..1 to unit vectors (n, width) in float32, on the network's device.

        Frames are squashed to a square. Raises LuminaError if the features are not finite.
        """
        parts = [self.run_visual(self.pixels(part)) for part in frames.split(_FRAMES_AT_ONCE)]
        return _unit(torch.cat(parts))

    @torch.no_grad()
    def text(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit vectors of all tokens (B, 77, text_width) in float32, and which of them are no padding, (B, 77) bool.

        Longer texts are cut. Raises LuminaError for anything but a list of strings, and for half a character.
        """
        if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
            raise LuminaError(f"texts is {texts!r}, expected a list of strings; wrap a single one in [].")
        for text in texts:
            check_text(text)
        states, mask = self.run_text(texts)
        return _unit(states), mask

    def run_visual(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pictures as `pixels` gives them to vectors (n, width), with gradients and any length."""
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    def run_text(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """`text` with gradients, any length of vector, unchecked."""
        length = self.text_tokens
        rows = self.tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
        ids = torch.zeros(len(rows), length, dtype=torch.long)  # tokens see only those before them, so never padding
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = True
        ids, mask = ids.to(self.device), mask.to(self.device)
        return self.model.text_model(input_ids=ids).last_hidden_state, mask

    def pixels(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (n, H, W, 3) in 0..1 as the network wants them: (n, 3, side, side), each color normalised."""
        dtype = self.model.logit_scale.dtype
        pictures = frames.to(self.device, torch.float32).permute(0, 3, 1, 2)
        size = _LARGER.get(self.side, self.side)
        if pictures.shape[2:] != (size, size):
            pictures = F.interpolate(pictures, (size, size), mode="bicubic", antialias=True)
        pictures = pictures.clamp(0, 1)[:, :, : self.side, : self.side]
        mean, spread = (pictures.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _SPREAD))
        return ((pictures - mean) / spread).to(dtype)


def _unit(features: torch.Tensor) -> torch.Tensor:
    features = features.float()
    if not features.isfinite().all():
        raise LuminaError("CLIP gave values that are not finite; load it in float32, or fetch the weights again.")
    return F.normalize(features, dim=-1)
