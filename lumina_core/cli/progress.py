"""A progress bar on stderr that counts FLOPs, because late steps cost many times as much as early ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..pipelines.base import ProgressObserver
from ..sampling.step_update import StepUpdate
from .bar import progress_bar

_FORMAT = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}<{remaining}]"


class Progress(ProgressObserver):
    """Shows stages and notes as lines, and steps as a progress bar, on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._costs: Sequence[int] = ()

    def stage(self, text: str) -> None:
        """Print a stage."""
        print(f"{text} ...", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print a note."""
        print(f"note: {text}", file=sys.stderr, flush=True)

    def sampling(self, costs: Sequence[int]) -> None:
        """Start a bar as long as the sum of the costs."""
        self._costs = costs
        self._bar = progress_bar(sum(costs), bar_format=_FORMAT, smoothing=0)

    def step(self, update: StepUpdate) -> None:
        """Advance the bar by the cost of the step."""
        if self._bar is not None:
            self._bar.set_description_str(describe(update), refresh=False)
            self._bar.update(self._costs[update.step])

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the bar."""
        self.close()


def describe(update: StepUpdate) -> str:
    """A text such as ``2x2, step 41 of 69, guided``; only the number of the step for audio."""
    place, evaluation = f"step {update.step + 1} of {update.steps}", update.evaluation
    if evaluation is None:
        return place
    return f"{evaluation.patch}, {place}, {'guided' if evaluation.guided else 'not guided'}"
