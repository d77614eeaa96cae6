"""Timings in turns, on a clock and a load that the test makes up."""

from __future__ import annotations

import pytest

from benchmarks.common.timing_rounds import TimingRounds, others_clock


class World:
    """A clock that only the calls move, and the CPU seconds of others beside it."""

    def __init__(self, seconds: dict[str, float], busy: tuple[float, ...] = (0.0,)):
        self.seconds, self.busy = seconds, busy
        self.now = self.used = 0.0
        self.order: list[str] = []
        self.reads = 0

    def calls(self) -> dict:
        return {name: lambda name=name: self.run(name) for name in self.seconds}

    def run(self, name: str) -> None:
        self.order.append(name)
        self.now += self.seconds[name]

    def others(self) -> float:
        """Every second reading ends a round, during which others kept ``busy`` cores busy."""
        if self.reads % 2:
            self.used += self.busy[self.reads // 2 % len(self.busy)] * (self.now - self.began)
        self.began = self.now
        self.reads += 1
        return self.used

    def timer(self, **options) -> TimingRounds:
        return TimingRounds(clock=lambda: self.now, others=self.others, **options)


def test_rounds_take_turns_and_give_ratios_of_each_round():
    world = World({"ours": 1.0, "theirs": 2.0, "third": 4.0})
    timed = world.timer(rounds=2).time(world.calls())
    assert world.order[-6:] == ["ours", "theirs", "third", "third", "theirs", "ours"]
    assert (timed.median("ours"), timed.ratio("ours", "theirs")) == (1.0, 0.5)
    assert timed.names == ["ours", "theirs", "third"]


def test_a_short_call_is_repeated_until_a_round_is_long_enough_to_see_the_load():
    world = World({"short": 0.125, "long": 3.0})
    timed = world.timer(rounds=1, seconds=0.5).time(world.calls())
    assert (world.order.count("short"), world.order.count("long")) == (2 + 4, 1 + 1)
    assert timed.median("short") == 0.125


def test_disturbed_rounds_are_left_out_and_counted():
    world = World({"a": 1.0, "b": 1.0}, busy=(0.5, 0.0, 0.25, 0.0625))
    timed = world.timer(rounds=4).time(world.calls())
    assert timed.fields() == {"rounds_used": 2, "rounds_noisy": 2, "others_cores": 0.0625}


def test_more_tries_until_enough_rounds_are_quiet():
    world = World({"a": 1.0, "b": 1.0}, busy=(0.5, 0.0))
    assert world.timer(rounds=2, tries=9).time(world.calls()).fields()["rounds_noisy"] == 2
    assert len(world.timer(rounds=2, tries=3).time(world.calls()).rounds) == 3


def test_without_a_quiet_round_the_disturbed_ones_are_kept_and_said():
    world = World({"a": 1.0, "b": 1.0}, busy=(2.0,))
    timed = world.timer(rounds=2).time(world.calls())
    assert timed.fields()["rounds_used"] == timed.fields()["rounds_noisy"] == 2 and timed.median("a") == 1.0


def test_every_round_counts_where_the_load_is_unknown():
    clock = iter(range(100))
    timed = TimingRounds(rounds=3, clock=lambda: next(clock), others=lambda: None).time({"a": int, "b": int})
    assert timed.fields() == {"rounds_used": 3, "rounds_noisy": 0, "others_cores": None}


def test_the_systems_own_line_is_read_with_stolen_time(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 9000 9000 0 0 100 0 0\ncpu0 1 2 3\n", encoding="ascii")
    first = others_clock(stat)
    stat.write_text("cpu  100 0 100 9999 9999 0 0 20000100 0 0\n", encoding="ascii")
    assert others_clock(stat) - first > 10_000
    assert others_clock(tmp_path / "missing") is None


def test_a_gpu_is_waited_for_before_the_clock_is_read():
    world, waits = World({"a": 1.0, "b": 1.0}), []
    world.timer(rounds=1, wait=lambda: waits.append(world.now)).time(world.calls())
    assert len(waits) == 2 * len(world.order)
    assert waits[-1] == pytest.approx(world.now)


def test_cpu_time_is_of_this_process_alone(monkeypatch):
    world = World({"a": 1.0, "b": 3.0}, busy=(2.0,))
    monkeypatch.setattr("time.process_time", lambda: world.now)
    timed = TimingRounds.by_cpu_time(rounds=2).time(world.calls())
    assert (timed.median("b"), timed.fields()["rounds_noisy"]) == (3.0, 0)
