"""Settings that video and audio recipes share: optimizer, EMA, validation, and checks of values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..errors import LuminaError

PRECISIONS = ("fp32", "bf16")


def check_counts(where: str, settings: object, *names: str) -> None:
    """Check that the named fields of ``settings`` are 1 or more, or None.

    ``where`` begins the error message. Raises LuminaError.
    """
    for name in names:
        count = getattr(settings, name)
        if count is not None and count < 1:
            raise LuminaError(f"{where} has {name} {count}; write 1 or more.", field=name, kind="value")


def check_rates(drop: object, *names: str) -> None:
    """Check that the named dropout rates of ``drop`` are from 0 to 1. Raises LuminaError."""
    for name in names:
        if not 0 <= getattr(drop, name) <= 1:
            raise LuminaError(
                f"The dropout rate of {name} is {getattr(drop, name)}; write a number from 0 to 1.",
                field=name,
                kind="value",
            )


def check_precision(precision: str) -> None:
    """Check that ``precision`` is one of ``PRECISIONS``. Raises LuminaError."""
    if precision not in PRECISIONS:
        raise LuminaError(
            f"precision is '{precision}'; write {' or '.join(PRECISIONS)}.", field="precision", kind="value"
        )


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW with a linear schedule of the learning rate.

    Args:
        learning_rate: peak rate, above 0.
        betas: decay rates of the two moments, 0 to below 1.
        eps: of AdamW, above 0.
        weight_decay: of AdamW, 0 or more.
        grad_clip: maximum norm of the gradients, above 0.
        warmup: steps of linear warmup.
        decay: steps of linear decay to zero at the end of the run.
    """

    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-15
    weight_decay: float = 0.0
    grad_clip: float = 2.0
    warmup: int = 0
    decay: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "eps", "grad_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise LuminaError(
                    f"The optimizer has {name} {getattr(self, name)}; write a number above 0.", field=name, kind="value"
                )
        for name in ("weight_decay", "warmup", "decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise LuminaError(
                    f"The optimizer has {name} {getattr(self, name)}; write 0 or more.", field=name, kind="value"
                )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise LuminaError(
                f"The optimizer has betas {list(self.betas)}; write two numbers from 0 to below 1.",
                field="betas",
                kind="value",
            )

    def build(self, parameters: list[torch.nn.Parameter]) -> torch.optim.AdamW:
        """AdamW for ``parameters``."""
        return torch.optim.AdamW(parameters, self.learning_rate, self.betas, self.eps, self.weight_decay)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of ``step``, counted from 0, in a run of ``steps``."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        falling = min(1.0, (steps - step) / self.decay) if self.decay else 1.0
        return self.learning_rate * min(rising, falling)


@dataclass(frozen=True, kw_only=True)
class Ema:
    """EMA of the weights, updated with ``decay`` (0 to below 1) every ``every`` steps."""

    decay: float = 0.99
    every: int = 10

    def __post_init__(self) -> None:
        check_counts("The EMA", self, "every")
        if not 0 <= self.decay < 1:
            raise LuminaError(
                f"The EMA has decay {self.decay}; write a number from 0 to below 1.", field="decay", kind="value"
            )


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Held-out loss of each patch size in windows of t, for each source (paper, figure 3).

    Args:
        every: steps between two validations.
        items: maximum number of samples per source and task.
        windows: number of equal windows of t in 0..1.
    """

    every: int = 1000
    items: int = 64
    windows: int = 20

    def __post_init__(self) -> None:
        check_counts("The validation", self, "every", "items", "windows")
