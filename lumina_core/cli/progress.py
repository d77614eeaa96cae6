"""A bar on stderr that runs evenly: it counts FLOPs, as a late step costs many times an early one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..pipelines.base import ProgressObserver
from ..sampling.step_update import StepUpdate

_FORMAT = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}<{remaining}]"
_SECONDS_IN_A_LOG = 10.0


class Progress(ProgressObserver):
    """Stages and notes as lines, steps as a bar."""

    def __init__(self) -> None:
        self._bar = None
        self._costs: Sequence[int] = ()

    def stage(self, text: str) -> None:
        print(f"{text} ...", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        print(f"note: {text}", file=sys.stderr, flush=True)

    def sampling(self, costs: Sequence[int]) -> None:
        from tqdm import tqdm

        self._costs = costs
        # In a log file every update is one more line.
        interval = 0.1 if sys.stderr.isatty() else _SECONDS_IN_A_LOG
        self._bar = tqdm(
            total=sum(costs), bar_format=_FORMAT, file=sys.stderr, mininterval=interval, smoothing=0, dynamic_ncols=True
        )

    def step(self, info: StepUpdate) -> None:
        if self._bar is not None:
            self._bar.set_description_str(describe(info), refresh=False)
            self._bar.update(self._costs[info.step])

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def describe(info: StepUpdate) -> str:
    """Such as ``2x2, step 41 of 69, guided``; steps of audio are all alike, so only their number."""
    place, asked = f"step {info.step + 1} of {info.steps}", info.evaluation
    return place if asked is None else f"{asked.patch}, {place}, {'guided' if asked.guided else 'not guided'}"
