"""Timings beside each other on a machine that others may use: rounds in turns, and those that were disturbed left out.

A foreign busy process makes every thread barrier of torch wait, so a disturbed round says nothing. `Quiet` times two or
more calls in rounds, the order reversed every other round, and reads meanwhile how many cores other processes used
(Linux, time stolen from a virtual machine included; unknown elsewhere, where every round counts).
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

OTHERS_LIMIT = 0.1
ROUND_SECONDS = 0.5
"""The system counts in hundredths of a second, too coarse for a round of a few short calls."""


def others_clock(stat: Path = Path("/proc/stat")) -> float | None:
    """CPU seconds that all processes but this one and its ended children used since the start; None where not told."""
    try:
        fields = stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    ours = os.times()
    return busy - time.process_time() - ours.children_user - ours.children_system


class Others:
    """Cores that other processes used inside a `with` block: `cores` afterwards, None where it is not told."""

    def __init__(self, read: Callable[[], float | None] = others_clock, clock: Callable[[], float] = time.perf_counter):
        self.read, self.clock = read, clock
        self.cores: float | None = None

    def __enter__(self) -> Others:
        self._before, self._start = self.read(), self.clock()
        return self

    def __exit__(self, *_: object) -> None:
        after, wall = self.read(), self.clock() - self._start
        known = self._before is not None and after is not None and wall > 0
        self.cores = max(0.0, after - self._before) / wall if known else None

    @property
    def quiet(self) -> bool:
        """Nobody else used more than a tenth of a core, as far as is known."""
        return self.cores is None or self.cores <= OTHERS_LIMIT


@dataclass(frozen=True)
class Round:
    """Mean seconds of one call of each name, and the cores others used meanwhile (None: unknown)."""

    seconds: dict[str, float]
    others: float | None
    quiet: bool


@dataclass(frozen=True)
class Timed:
    """All rounds of one comparison. Figures are of the quiet ones; of all of them when none was quiet."""

    rounds: tuple[Round, ...]

    @property
    def kept(self) -> int:
        """How many rounds were quiet; 0: the figures are of disturbed rounds and not to be quoted."""
        return sum(r.quiet for r in self.rounds)

    @property
    def used(self) -> tuple[Round, ...]:
        return tuple(r for r in self.rounds if r.quiet) or self.rounds

    def median(self, name: str) -> float:
        """Seconds of one call."""
        return statistics.median(r.seconds[name] for r in self.used)

    def best(self, name: str) -> float:
        return min(r.seconds[name] for r in self.used)

    def ratio(self, name: str, base: str) -> float:
        """Median over rounds of one's seconds over the other's."""
        return statistics.median(r.seconds[name] / r.seconds[base] for r in self.used)

    def ratio_of_best(self, name: str, base: str) -> float:
        return self.best(name) / self.best(base)

    def fields(self) -> dict[str, int | float | None]:
        """What a row of JSON says about its own noise."""
        return {
            "rounds_used": len(self.used),
            "rounds_noisy": len(self.rounds) - self.kept,
            "others_cores": max((r.others for r in self.used if r.others is not None), default=None),
        }


class Quiet:
    """Times calls in turns until ``rounds`` quiet rounds are there, giving up after ``tries`` rounds (default: rounds).

    ``seconds`` is how long each call is repeated per round; ``wait`` runs before a clock is read (a GPU's synchronize).
    """

    def __init__(
        self,
        rounds: int = 5,
        tries: int | None = None,
        seconds: float = ROUND_SECONDS,
        wait: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        others: Callable[[], float | None] = others_clock,
    ):
        self.rounds, self.tries, self.seconds = rounds, max(rounds, tries or rounds), seconds
        self.wait, self.clock, self.others = wait, clock, others

    @classmethod
    def by_processor_time(cls, rounds: int = 5) -> Quiet:
        """Counts this process's own processor time: for a busy machine, and true of one thread only."""
        return cls(rounds, clock=time.process_time, others=lambda: None)

    def time(self, calls: Mapping[str, Callable[[], object]]) -> Timed:
        """Each call is tried once or twice beforehand, to warm it up and to see how often it fits into a round."""
        repeats = {name: self._repeats(run) for name, run in calls.items()}
        done: list[Round] = []
        while len(done) < self.tries and sum(r.quiet for r in done) < self.rounds:
            order = list(calls) if len(done) % 2 == 0 else list(calls)[::-1]
            with Others(self.others, self.clock) as load:
                seconds = {name: self._each(calls[name], repeats[name]) for name in order}
            done.append(Round(seconds, load.cores, load.quiet))
        return Timed(tuple(done))

    def _repeats(self, run: Callable[[], object]) -> int:
        if self._each(run, 1) >= self.seconds:
            return 1
        return max(1, math.ceil(self.seconds / self._each(run, 1)))

    def _each(self, run: Callable[[], object], repeats: int) -> float:
        self._settle()
        start = self.clock()
        for _ in range(repeats):
            run()
        self._settle()
        return (self.clock() - start) / repeats

    def _settle(self) -> None:
        if self.wait is not None:
            self.wait()
