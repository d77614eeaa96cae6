"""Timing of one sampling run: evaluations of the network, and steps as the sampler counts them."""

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
        sigma, t: noise level and flow time.
        shape: patch size, tokens, batch and FLOPs.
        seconds: since the end of the previous evaluation.
        representative: whether it cost as much as its shape suggests, so that estimates may use its seconds.
    """

    sigma: float
    t: float
    shape: Shape
    seconds: float
    representative: bool


@dataclass(frozen=True)
class Step:
    """A step of the sampler.

    Samplers with several evaluations per step may call back between them, so a step may contain the last evaluation of
    the previous one.

    Args:
        number: counted from 1.
        main: the evaluation with which the step begins.
        first, last: its evaluations are ``evaluated[first:last]`` of the run.
    """

    number: int
    main: TimedEvaluation
    first: int
    last: int


class StepTimer:
    """Records the evaluations and steps of one run. A step ends with the sampler's callback.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = perf_counter):
        self.now = now
        self.started = self.mark = now()
        self.evaluated: list[TimedEvaluation] = []
        self.steps: list[Step] = []

    def evaluate(self, sigma: float, t: float, shape: Shape, representative: bool = True) -> None:
        """Record an evaluation that has just ended; see ``TimedEvaluation``."""
        mark = self.now()
        self.evaluated.append(TimedEvaluation(sigma, t, shape, mark - self.mark, representative))
        self.mark = mark

    def end_step(self, number: int, sigma: float) -> Step | None:
        """Record the callback for step ``number``, which began at ``sigma``; None if nothing was evaluated since."""
        first = self.steps[-1].last if self.steps else 0
        new = self.evaluated[first:]
        if not new:
            return None
        # The second stage of the previous step may be among them.
        main = min(reversed(new), key=lambda e: abs(e.sigma - sigma))
        self.steps.append(Step(number, main, first, len(self.evaluated)))
        return self.steps[-1]

    def shapes(self) -> list[dict[str, Any]]:
        """Rows of every shape with its median seconds, as `stored` writes them.

        The first evaluation of the run is a warm-up, which counts only if its shape has no other.
        """
        kinds: dict[tuple, list[TimedEvaluation]] = {}
        for evaluated in filter(lambda each: each.representative, self.evaluated):
            kinds.setdefault(evaluated.shape.key, []).append(evaluated)
        kept = []
        for es in kinds.values():
            steady = es[1:] if es[0] is self.evaluated[0] and len(es) > 1 else es
            kept.append(stored(es[0].shape, len(es), median(e.seconds for e in steady)))
        return kept

    def parts(self) -> list[tuple[Shape, int]]:
        """The input of ``lumina_core.cost.runtime.estimate``: every evaluation once."""
        return [(evaluated.shape, 1) for evaluated in self.evaluated]

    def result(self, expected: Estimate | None) -> dict[str, Any]:
        """Summary for the page: seconds of the run and of its segments, which add up to it, and their estimates.

        Args:
            expected: the estimate of this run; None if there is none.
        """
        ended = self.now()
        segments = []
        for (patch, guided), group in groupby(self.steps, key=lambda s: (s.main.shape.patch, s.main.shape.guided)):
            steps = list(group)
            # The last segment also includes what came after its last callback.
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
