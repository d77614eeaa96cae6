"""Classifier-free guidance on the velocity, in the official convention."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def guide(
    positive: torch.Tensor,
    negatives: Sequence[tuple[float, torch.Tensor]],
    renorm: float = -1.0,
    channels: int | None = None,
) -> torch.Tensor:
    """``positive + sum(g * (positive - negative))``, in float32, then bounded by ``renorm``.

    Args:
        positive: velocity (B, C, F, H, W).
        negatives: pairs of scale g and velocity like ``positive``. g = 20 is a host cfg of 21.
        renorm: upper bound of the result's norm, per item, as a multiple of the positive velocity's norm;
            <= 0 is off. It holds without any negative too, so a bound below 1 shrinks the plain velocity.
        channels: how many channels are guided, as ``first_channels``; None is all.

    Source: official ``forward_with_multi_cfg``.
    """
    positive = positive.float()
    guided = positive
    for scale, negative in negatives:
        guided = guided + scale * (positive - negative.float())
    return bound_norm(first_channels(guided, positive, channels), positive, renorm)


def first_channels(guided: torch.Tensor, positive: torch.Tensor, channels: int | None) -> torch.Tensor:
    """``guided`` in the first ``channels`` channels (None: all) and ``positive`` in the rest, as Lumina-Next does."""
    return guided if channels is None else torch.cat([guided[:, :channels], positive[:, channels:]], dim=1)


def bound_norm(guided: torch.Tensor, positive: torch.Tensor, renorm: float) -> torch.Tensor:
    """Scale each item of ``guided`` down to at most ``renorm`` times the norm of the same item of ``positive``."""
    if renorm <= 0:
        return guided
    axes = tuple(range(1, positive.ndim))
    limit = renorm * torch.linalg.vector_norm(positive, dim=axes, keepdim=True)
    norm = torch.linalg.vector_norm(guided, dim=axes, keepdim=True)
    # A zero velocity has nothing to bound; the floor keeps 0 / 0 away.
    return torch.where(norm < limit, guided, guided * (limit / norm.clamp(min=torch.finfo(norm.dtype).tiny)))
