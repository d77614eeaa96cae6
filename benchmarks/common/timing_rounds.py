"""Timings of several calls on a shared machine: interleaved rounds, disturbed rounds left out.

Another busy process makes every thread barrier of torch wait, so a disturbed round is no measurement. `TimingRounds`
times two or more calls in rounds, the order reversed every other round, and reads how many cores other processes used
meanwhile (Linux, time stolen from a virtual machine included; unknown elsewhere, where every round counts).
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Cores that other processes may use in a round that counts.
OTHERS_LIMIT = 0.1
# The system counts in hundredths of a second, too coarse for a round of a few short calls.
ROUND_SECONDS = 0.5


def others_clock(stat: Path = Path("/proc/stat")) -> float | None:
    """CPU seconds that all processes but this one and its ended children used since the start; None where unknown."""
    try:
        fields = stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    ours = os.times()
    return busy - time.process_time() - ours.children_user - ours.children_system


@dataclass(frozen=True)
class Round:
    """Mean seconds of one call of each name, and the cores that others used meanwhile (None: unknown)."""

    seconds: dict[Hashable, float]
    others: float | None

    @property
    def quiet(self) -> bool:
        return self.others is None or self.others <= OTHERS_LIMIT


@dataclass(frozen=True)
class Timed:
    """All rounds of one comparison. Figures are of the quiet ones; of all of them when none was quiet."""

    rounds: tuple[Round, ...]

    @property
    def used(self) -> tuple[Round, ...]:
        return tuple(r for r in self.rounds if r.quiet) or self.rounds

    @property
    def names(self) -> list[Hashable]:
        return list(self.rounds[0].seconds)

    def median(self, name: Hashable) -> float:
        """Seconds of one call."""
        return statistics.median(r.seconds[name] for r in self.used)

    def ratio(self, name: Hashable, base: Hashable) -> float:
        """Median over rounds of one's seconds over the other's."""
        return statistics.median(r.seconds[name] / r.seconds[base] for r in self.used)

    def fields(self) -> dict[str, int | float | None]:
        """The noise of a measurement, as fields of its row. If no round was quiet, all are used and all are noisy."""
        return {
            "rounds_used": len(self.used),
            "rounds_noisy": sum(not r.quiet for r in self.rounds),
            "others_cores": max((r.others for r in self.used if r.others is not None), default=None),
        }


class TimingRounds:
    """Times interleaved calls until ``rounds`` quiet rounds are measured, at most ``tries`` (default: rounds).

    ``seconds`` is how long each call is repeated per round; ``wait`` runs before a clock is read (a GPU's synchronize).
    """

    def __init__(
        self,
        rounds: int = 5,
        tries: int | None = None,
        seconds: float = ROUND_SECONDS,
        wait: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
        others: Callable[[], float | None] = others_clock,
    ):
        self.rounds, self.tries, self.seconds = rounds, max(rounds, tries or rounds), seconds
        self.wait, self.clock, self.others = wait, clock, others

    @classmethod
    def by_cpu_time(cls, rounds: int = 5) -> TimingRounds:
        """Counts this process's own CPU time: for a busy machine, with one thread only."""
        return cls(rounds, clock=time.process_time, others=lambda: None)

    def time(self, calls: Mapping[Hashable, Callable[[], object]]) -> Timed:
        """Each call runs once or twice first, to warm it up and to see how often it fits into a round."""
        repeats = {name: self._repeats(run) for name, run in calls.items()}
        done: list[Round] = []
        while len(done) < self.tries and sum(r.quiet for r in done) < self.rounds:
            order = list(calls) if len(done) % 2 == 0 else list(calls)[::-1]
            before, start = self.others(), self.clock()
            seconds = {name: self._each(calls[name], repeats[name]) for name in order}
            after, wall = self.others(), self.clock() - start
            known = before is not None and after is not None and wall > 0
            done.append(Round(seconds, max(0.0, after - before) / wall if known else None))
        return Timed(tuple(done))

    def _repeats(self, run: Callable[[], object]) -> int:
        if self._each(run, 1) >= self.seconds:
            return 1
        return max(1, math.ceil(self.seconds / self._each(run, 1)))

    def _each(self, run: Callable[[], object], repeats: int) -> float:
        self.wait()
        start = self.clock()
        for _ in range(repeats):
            run()
        self.wait()
        return (self.clock() - start) / repeats
