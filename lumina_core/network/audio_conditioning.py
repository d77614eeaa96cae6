"""What a sound is made for: features of the video and of the text, each of which can be left out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch


@dataclass(frozen=True)
class AudioCondition:
    """Features of B clips of one length.

    Args:
        visual: of CLIP's frames, (B, N, visual_dim).
        sync: of Synchformer's segments, (B, S, 8, sync_dim); together they cover the whole clip.
        text: (B, L, text_dim).
        text_mask: bool (B, L), True where a token counts; at least one a row.
        no_video, no_text: bool (B,), True where the stream is left out; the network then reads its null features.
    """

    visual: torch.Tensor
    sync: torch.Tensor
    text: torch.Tensor
    text_mask: torch.Tensor
    no_video: torch.Tensor
    no_text: torch.Tensor

    @classmethod
    def of(
        cls, visual: torch.Tensor, sync: torch.Tensor, text: torch.Tensor, text_mask: torch.Tensor
    ) -> AudioCondition:
        """With nothing left out."""
        nothing = torch.zeros(len(visual), dtype=torch.bool, device=visual.device)
        return cls(visual, sync, text, text_mask, nothing, nothing)

    def __len__(self) -> int:
        return len(self.visual)

    def without_video(self) -> AudioCondition:
        return replace(self, no_video=torch.ones_like(self.no_video))

    def without_text(self) -> AudioCondition:
        return replace(self, no_text=torch.ones_like(self.no_text))

    def with_text(self, text: torch.Tensor, text_mask: torch.Tensor) -> AudioCondition:
        """The same clips with another text, such as a negative prompt; (1, L, ...) serves all of them."""
        return replace(
            self,
            text=text.expand(len(self), -1, -1),
            text_mask=text_mask.expand(len(self), -1),
            no_text=torch.zeros_like(self.no_text),
        )

    def expand(self, batch: int) -> AudioCondition:
        """One clip's condition for ``batch`` items."""
        return self._map(lambda x: x.expand(batch, *x.shape[1:]))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> AudioCondition:
        """On a device, features in a dtype."""
        return self._map(lambda x: x.to(device) if x.dtype == torch.bool else x.to(device, dtype))

    @classmethod
    def cat(cls, parts: list[AudioCondition]) -> AudioCondition:
        """Several conditions of equal shapes as one batch."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def _map(self, change) -> AudioCondition:
        return AudioCondition(*(change(getattr(self, field.name)) for field in fields(self)))
