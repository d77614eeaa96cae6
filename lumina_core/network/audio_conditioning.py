"""The conditioning of Video to Audio: features of the video and of the text, either of which can be left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch


@dataclass(frozen=True)
class AudioCondition:
    """Features of B clips of equal length.

    Args:
        visual: CLIP features of the frames, (B, N, visual_dim).
        sync: Synchformer features of the segments, (B, S, 8, sync_dim), which together cover the clip.
        text: text features (B, L, text_dim).
        text_mask: bool (B, L), True where a token counts, which is at least one per sample.
        no_video: bool (B,), True where the video is left out; the network then uses its null features.
        no_text: bool (B,), the same for the text.
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
        """A condition of which nothing is left out; see the class for the arguments."""
        nothing = torch.zeros(len(visual), dtype=torch.bool, device=visual.device)
        return cls(visual, sync, text, text_mask, nothing, nothing)

    def __len__(self) -> int:
        """Batch size."""
        return len(self.visual)

    def __getitem__(self, samples: slice) -> AudioCondition:
        """The condition of some samples of the batch."""
        return self._map(lambda x: x[samples])

    def without_video(self) -> AudioCondition:
        """The same with the video left out of every sample."""
        return replace(self, no_video=torch.ones_like(self.no_video))

    def without_text(self) -> AudioCondition:
        """The same with the text left out of every sample."""
        return replace(self, no_text=torch.ones_like(self.no_text))

    def with_text(self, text: torch.Tensor, text_mask: torch.Tensor) -> AudioCondition:
        """The same with another text, such as a negative prompt: features (B or 1, L, text_dim), mask (B or 1, L)."""
        return replace(
            self,
            text=text.expand(len(self), -1, -1),
            text_mask=text_mask.expand(len(self), -1),
            no_text=torch.zeros_like(self.no_text),
        )

    def expand(self, batch: int) -> AudioCondition:
        """The condition of one clip, repeated for ``batch`` samples."""
        return self._map(lambda x: x.expand(batch, *x.shape[1:]))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> AudioCondition:
        """Features and masks on a device, features in a dtype."""
        return self._map(lambda x: x.to(device) if x.dtype == torch.bool else x.to(device, dtype))

    @classmethod
    def cat(cls, parts: list[AudioCondition]) -> AudioCondition:
        """Concatenate conditions along the batch."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> AudioCondition:
        return AudioCondition(*(change(getattr(self, field.name)) for field in fields(self)))
