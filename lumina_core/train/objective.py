"""Flow matching: times, noised latents, and the loss of one item.

Source: paper sections 3.1 and 3.2 (scale-aware timestep shifting); official transport/transport.py and train.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from ..sampling.timesteps import shift_time

UNIFORM, LOG_NORMAL = "uniform", "lognorm"
DISTRIBUTIONS = (UNIFORM, LOG_NORMAL)


def draw_time(distribution: str, shift: float, generator: torch.Generator) -> torch.Tensor:
    """One training time, a float32 scalar in 0..1 (0 noise, 1 data).

    ``uniform`` or ``lognorm`` (the logistic function of a standard normal number, as the official code names it), then
    ``t / (t + shift - shift t)``: a larger shift trains more near the noise, as a coarser patch size needs.
    """
    if distribution == UNIFORM:
        t = torch.rand((), generator=generator)
    elif distribution == LOG_NORMAL:
        t = torch.randn((), generator=generator).sigmoid()
    else:
        raise LuminaError(f"The distribution of t is '{distribution}'; use one of {', '.join(DISTRIBUTIONS)}.")
    return shift_time(t, shift)


def noised(data: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """``t data + (1 - t) noise`` for items (B, ...) and times (B,)."""
    t = t.view(-1, *[1] * (data.ndim - 1))
    return t * data + (1 - t) * noise


def item_losses(velocity: torch.Tensor, data: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error of the velocity, and one minus its cosine with the true one, each (B,), float32.

    velocity, data, noise: (B, ...). The true velocity is ``data - noise``. The official recipe adds the two with
    a weight of 1 (its ``vd_weight``).
    """
    found, wanted = velocity.float().flatten(1), (data - noise).float().flatten(1)
    return (found - wanted).pow(2).mean(dim=1), 1 - F.cosine_similarity(found, wanted, dim=1)
