"""Seconds of a whole benchmark: what fits in is run, what does not is named."""

from __future__ import annotations

import time
from collections.abc import Callable

RESERVE = 15.0
"""Seconds kept for what follows the measurements."""


class Budget:
    """Counts from its making. ``skipped`` names what was left out."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter):
        self.seconds, self.clock = seconds, clock
        self.start = clock()
        self.skipped: list[str] = []

    def used(self) -> float:
        return self.clock() - self.start

    def left(self) -> float:
        return self.seconds - self.used() - RESERVE

    def allows(self, what: str, seconds: float) -> bool:
        """Whether ``what``, foretold to take so long, fits in; noted if not."""
        if seconds <= self.left():
            return True
        self.skipped.append(f"{what}: about {seconds:.0f} s, and {max(0.0, self.left()):.0f} s were left")
        return False
