"""The training loop of the small networks of the bundled model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch


def optimize(
    parameters: Iterable[torch.nn.Parameter],
    loss: Callable[[], torch.Tensor],
    steps: int,
    learning_rate: float,
    rate: Callable[[int], float],
    report: Callable[[int, float], None],
    weight_decay: float = 0.0,
) -> None:
    """Train with AdamW and gradients clipped to a norm of 1.

    Args:
        parameters: what is trained.
        loss: the loss of a new batch.
        steps: training steps.
        learning_rate: highest learning rate.
        rate: fraction of it at a step, 0 to 1.
        report: called with step and loss after each step.
        weight_decay: of AdamW.
    """
    trained = list(parameters)
    optimizer = torch.optim.AdamW(trained, learning_rate, betas=(0.9, 0.95), weight_decay=weight_decay)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * rate(step)
        value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        report(step, float(value.detach()))


def cosine_rate(steps: int, warmup: int, floor: float = 0.02) -> Callable[[int], float]:
    """A rate that rises linearly over ``warmup`` steps and falls as a cosine from 1 to ``floor`` over all steps."""

    def rate(step: int) -> float:
        fall = floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        return min((step + 1) / warmup, fall)

    return rate
