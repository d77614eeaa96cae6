"""A bar on stderr that runs evenly: it counts FLOPs, as a late step costs many times an early one."""

from __future__ import annotations

import sys

from ..pipelines.video import Watcher
from ..sampling.audio import AudioStep
from ..sampling.video import StepInfo

_FORMAT = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}<{remaining}]"
_SECONDS_IN_A_LOG = 10.0


class Progress(Watcher):
    """Stages and notes as lines, steps as a bar."""

    def __init__(self) -> None:
        self._bar = None
        self._costs: list[int] = []

    def stage(self, text: str) -> None:
        print(f"{text} ...", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        print(f"note: {text}", file=sys.stderr, flush=True)

    def sampling(self, costs: list[int]) -> None:
        from tqdm import tqdm

        self._costs = costs
        # In a log file every update is one more line.
        interval = 0.1 if sys.stderr.isatty() else _SECONDS_IN_A_LOG
        self._bar = tqdm(
            total=sum(costs), bar_format=_FORMAT, file=sys.stderr, mininterval=interval, smoothing=0, dynamic_ncols=True
        )

    def step(self, info: StepInfo) -> None:
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


class AudioProgress(Progress):
    """The bar counts steps of the sound: all of them cost the same."""

    def step(self, info: AudioStep) -> None:
        self._bar.set_description_str(f"sound, step {info.step + 1} of {info.steps}", refresh=False)
        self._bar.update(self._costs[info.step])


def describe(info: StepInfo) -> str:
    """Such as ``2x2, step 41 of 69, guided``."""
    asked = info.evaluation
    return f"{asked.patch}, step {info.step + 1} of {info.steps}, {'guided' if asked.guided else 'not guided'}"
