"""Classifier-free guidance (CFG) on the velocity, in the official convention."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Guider:
    """``positive + sum(g * (positive - negative))``, in float32, with its norm bounded by ``renorm``.

    Args:
        scales: guidance g of each negative velocity; ComfyUI's CFG scale is g + 1.
        renorm: upper bound on the norm of each sample of the result, as a multiple of the positive velocity's norm;
            <= 0 is off. It also applies without a negative velocity, so a bound below 1 shrinks the positive one.
        channels: how many channels are guided, from the first; None is all.

    Source: official ``forward_with_multi_cfg``.
    """

    scales: tuple[float, ...]
    renorm: float = -1.0
    channels: int | None = None

    def __call__(self, positive: torch.Tensor, *negatives: torch.Tensor) -> torch.Tensor:
        """The guided velocity, float32 of the shape of ``positive`` (B, C, ...); takes one negative for each scale."""
        positive = positive.float()
        guided = positive
        for scale, negative in zip(self.scales, negatives, strict=True):
            guided = guided + scale * (positive - negative.float())
        return bound_norm(first_channels(guided, positive, self.channels), positive, self.renorm)


def first_channels(guided: torch.Tensor, positive: torch.Tensor, channels: int | None) -> torch.Tensor:
    """``guided`` in the first ``channels`` channels (None is all) and ``positive`` in the rest, as in Lumina-Next."""
    return guided if channels is None else torch.cat([guided[:, :channels], positive[:, channels:]], dim=1)


def bound_norm(guided: torch.Tensor, positive: torch.Tensor, renorm: float) -> torch.Tensor:
    """Scale each sample of ``guided`` to at most ``renorm`` times the norm of the same sample of ``positive``."""
    if renorm <= 0:
        return guided
    axes = tuple(range(1, positive.ndim))
    limit = renorm * torch.linalg.vector_norm(positive, dim=axes, keepdim=True)
    norm = torch.linalg.vector_norm(guided, dim=axes, keepdim=True)
    # A velocity of zero needs no bound; the clamp avoids 0 / 0.
    return torch.where(norm < limit, guided, guided * (limit / norm.clamp(min=torch.finfo(norm.dtype).tiny)))
