"""Converts between latent videos and patch vectors.

Tokens are in the order (frames, height, width), the last fastest. A patch vector runs over (frames, height, width,
channel).
"""

from __future__ import annotations

import torch
from einops import rearrange

from ..shapes.schedules import PatchSize


def patchify(x: torch.Tensor, patch: PatchSize) -> torch.Tensor:
    """(B, C, F, H, W) -> (B, L, patch.frames * patch.space^2 * C). An image is repeated to fill a temporal patch."""
    if x.shape[2] == 1:
        x = x.expand(-1, -1, patch.frames, -1, -1)
    return rearrange(
        x,
        "b c (f pf) (h ph) (w pw) -> b (f h w) (pf ph pw c)",
        pf=patch.frames,
        ph=patch.space,
        pw=patch.space,
    )


def unpatchify(tokens: torch.Tensor, patch: PatchSize, size: tuple[int, int, int]) -> torch.Tensor:
    """The inverse of ``patchify``, for latents of ``size`` (frames, height, width); an image keeps one frame."""
    frames, height, width = size
    x = rearrange(
        tokens,
        "b (f h w) (pf ph pw c) -> b c (f pf) (h ph) (w pw)",
        h=height // patch.space,
        w=width // patch.space,
        pf=patch.frames,
        ph=patch.space,
        pw=patch.space,
    )
    return x[:, :, :frames]
