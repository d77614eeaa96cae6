"""One sampling run as it is measured: evaluations of the network, and the steps that the sampler counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from time import perf_counter
from typing import Any

from ...lumina_core.cost.runtime import Estimate, Shape
from .timing_store import stored


@dataclass(frozen=True)
class TimedEvaluation:
    """One evaluation of the network.

    Args:
        sigma, t: its noise level and flow time.
        shape: patch size, tokens, batch and FLOPs.
        seconds: since the end of the evaluation before it.
        representative: whether it did all the work that its shape says, so that its seconds may serve for estimates.
    """

    sigma: float
    t: float
    shape: Shape
    seconds: float
    representative: bool


@dataclass(frozen=True)
class Step:
    """A step, counted from 1: the evaluation it begins with, and the run's first and last evaluation it lies between.

    Samplers that evaluate more than once call back in between, so a step may hold the end of the one before.
    """

    number: int
    main: TimedEvaluation
    first: int
    last: int


class StepTimer:
    """Filled while the run lasts. A step ends with the sampler's callback; nothing here touches a disk.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = perf_counter):
        self.now = now
        self.started = self.mark = now()
        self.evaluated: list[TimedEvaluation] = []
        self.steps: list[Step] = []

    def evaluate(self, sigma: float, t: float, shape: Shape, representative: bool = True) -> None:
        """An evaluation has just ended; see ``TimedEvaluation``."""
        mark = self.now()
        self.evaluated.append(TimedEvaluation(sigma, t, shape, mark - self.mark, representative))
        self.mark = mark

    def end_step(self, number: int, sigma: float) -> Step | None:
        """The sampler called back for step ``number``, which began at ``sigma``."""
        first = self.steps[-1].last if self.steps else 0
        new = self.evaluated[first:]
        if not new:
            return None
        # The second stage of the step before may lie in here, too.
        main = min(reversed(new), key=lambda e: abs(e.sigma - sigma))
        self.steps.append(Step(number, main, first, len(self.evaluated)))
        return self.steps[-1]

    def shapes(self) -> list[dict[str, Any]]:
        """Every shape with its median seconds. The run's first evaluation warms up and counts only where alone."""
        kinds: dict[tuple, list[TimedEvaluation]] = {}
        for evaluated in filter(lambda each: each.representative, self.evaluated):
            kinds.setdefault(evaluated.shape.same, []).append(evaluated)
        kept = []
        for es in kinds.values():
            steady = es[1:] if es[0] is self.evaluated[0] and len(es) > 1 else es
            kept.append(stored(es[0].shape, len(es), median(e.seconds for e in steady)))
        return kept

    def parts(self) -> list[tuple[Shape, int]]:
        """What ``lumina_core.cost.runtime.estimate`` is asked for: every evaluation."""
        return [(evaluated.shape, 1) for evaluated in self.evaluated]

    def result(self, expected: Estimate | None) -> dict[str, Any]:
        """Seconds of the whole run, which the segments add up to, and what had been expected."""
        ended = self.now()
        segments = []
        for (patch, guided), group in groupby(self.steps, key=lambda s: (s.main.shape.patch, s.main.shape.guided)):
            steps = list(group)
            # The last one also holds what came after its callback.
            last = steps[-1].last if steps[-1] is not self.steps[-1] else len(self.evaluated)
            seconds = sum(e.seconds for e in self.evaluated[steps[0].first : last])
            if steps[-1] is self.steps[-1]:
                seconds += ended - self.mark
            segments.append(
                {
                    "patch": patch,
                    "guided": guided,
                    "first_step": steps[0].number,
                    "last_step": steps[-1].number,
                    "seconds": seconds,
                    "estimate": expected and sum(expected.parts[steps[0].first : last]),
                }
            )
        whole = ended - self.started
        return {"seconds": whole, "estimate": expected and expected.seconds, "segments": segments}
