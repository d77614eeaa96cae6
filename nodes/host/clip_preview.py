"""Previews that play the clip. The host shows one frame of a video per step, so each step gets the next frame."""

from __future__ import annotations

from collections.abc import Callable

import torch

# The host's sampling callback: step from 0, denoised latents, latents, number of steps.
Callback = Callable[[int, torch.Tensor, torch.Tensor, int], None]


def play(callback: Callback) -> Callback:
    """Wrap a callback so that each step gets one frame of the latents (B, C, F, H, W), and the last step the first."""

    def show_next(step: int, x0: torch.Tensor, x: torch.Tensor, total: int) -> None:
        frame = (step + 1 - total) % x0.shape[2]
        callback(step, x0[:, :, frame : frame + 1], x, total)

    return show_next
