"""Previews that play the clip: both hosts show one frame of a video per step, so each step shows the next one."""

from __future__ import annotations

from collections.abc import Callable

import torch

Callback = Callable[[int, torch.Tensor, torch.Tensor, int], None]


def play(callback: Callback) -> Callback:
    """The host's callback, given one latent frame of (B, C, F, H, W) per step; the last step shows the first frame."""

    def shown(step: int, x0: torch.Tensor, x: torch.Tensor, total: int) -> None:
        frame = (step + 1 - total) % x0.shape[2]
        callback(step, x0[:, :, frame : frame + 1], x, total)

    return shown
