"""Classifier-free guidance on the velocity, in the official convention."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Guider:
    """``positive + sum(g * (positive - negative))``, in float32, then bounded by ``renorm``.

    Args:
        scales: g of each negative. g = 20 is a host cfg of 21.
        renorm: upper bound of the result's norm, per sample, as a multiple of the positive velocity's norm; <= 0 is
            off. It holds without any negative too, so a bound below 1 shrinks the plain velocity.
        channels: how many channels are guided, as ``first_channels``; None is all.

    Source: official ``forward_with_multi_cfg``.
    """

    scales: tuple[float, ...]
    renorm: float = -1.0
    channels: int | None = None

    def __call__(self, positive: torch.Tensor, *negatives: torch.Tensor) -> torch.Tensor:
        """The guided velocity, float32 like ``positive`` (B, C, ...), of one negative for each scale."""
        positive = positive.float()
        guided = positive
        for scale, negative in zip(self.scales, negatives, strict=True):
            guided = guided + scale * (positive - negative.float())
        return bound_norm(first_channels(guided, positive, self.channels), positive, self.renorm)


def first_channels(guided: torch.Tensor, positive: torch.Tensor, channels: int | None) -> torch.Tensor:
    """``guided`` in the first ``channels`` channels (None: all) and ``positive`` in the rest, as Lumina-Next does."""
    return guided if channels is None else torch.cat([guided[:, :channels], positive[:, channels:]], dim=1)


def bound_norm(guided: torch.Tensor, positive: torch.Tensor, renorm: float) -> torch.Tensor:
    """Scale each sample of ``guided`` to at most ``renorm`` times the norm of the same sample of ``positive``."""
    if renorm <= 0:
        return guided
    axes = tuple(range(1, positive.ndim))
    limit = renorm * torch.linalg.vector_norm(positive, dim=axes, keepdim=True)
    norm = torch.linalg.vector_norm(guided, dim=axes, keepdim=True)
    # A zero velocity has nothing to bound; the floor keeps 0 / 0 away.
    return torch.where(norm < limit, guided, guided * (limit / norm.clamp(min=torch.finfo(norm.dtype).tiny)))
