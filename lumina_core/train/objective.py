"""Flow matching: timesteps, and the loss of a sample.

Source: paper sections 3.1 and 3.2 (scale-aware timestep shifting); official transport/transport.py and train.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from ..sampling.timesteps import shift_time

# Names of the distributions of t, as in the official code.
UNIFORM, LOG_NORMAL = "uniform", "lognorm"
DISTRIBUTIONS = (UNIFORM, LOG_NORMAL)


def draw_timestep(distribution: str, shift: float, generator: torch.Generator) -> torch.Tensor:
    """Draw one training timestep.

    Args:
        distribution: ``uniform``, or ``lognorm`` for a logit-normal one (the sigmoid of a standard normal number).
        shift: then applied as ``t / (t + shift - shift t)``, above 0. A larger shift trains more at high noise, which a
            coarser patch size needs.
        generator: source of the randomness.

    Returns:
        A float32 scalar in 0..1 (0 is noise, 1 is data).

    Raises:
        LuminaError: the distribution is unknown.
    """
    if distribution == UNIFORM:
        t = torch.rand((), generator=generator)
    elif distribution == LOG_NORMAL:
        t = torch.randn((), generator=generator).sigmoid()
    else:
        raise LuminaError(
            f"The distribution of t is '{distribution}'; use one of {', '.join(DISTRIBUTIONS)}.",
            field="times",
            kind="value",
        )
    return shift_time(t, shift)


def sample_losses(velocity: torch.Tensor, data: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses of a predicted velocity; the true one is ``data - noise``.

    Args:
        velocity, data, noise: (B, ...).

    Returns:
        Mean squared error, and one minus the cosine similarity, each (B,), float32. The official recipe adds the latter
        with a weight of 1 (its ``vd_weight``).
    """
    predicted, target = velocity.float().flatten(1), (data - noise).float().flatten(1)
    return (predicted - target).pow(2).mean(dim=1), 1 - F.cosine_similarity(predicted, target, dim=1)
