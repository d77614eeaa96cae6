"""Which items a task takes in which step."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
from refusals import refused

from lumina_core import LatentSize
from lumina_core.train.batches import TaskBatches, crop_shape
from lumina_core.train.recipe import Source, Task
from lumina_core.train.video import training_size

SMALL, WIDE, LONG = (16, 2, 4, 4), (16, 2, 4, 8), (16, 6, 4, 4)


def encoded(*shapes, kind: str = "video") -> SimpleNamespace:
    return SimpleNamespace(entries=[SimpleNamespace(shape=shape, kind=kind) for shape in shapes])


def task(**changes) -> Task:
    return Task(**{"name": "fine", "patch": "1x2", "batch": 4, "time_shift": 2.0, **changes})


def batches(sets: dict, weights: dict | None = None, seed: int = 1, period: int = 1, **changes) -> TaskBatches:
    sources = {name: Source(name=name, encoded=name, weight=(weights or {}).get(name, 1.0)) for name in sets}
    return TaskBatches(task(**changes), sources, sets, seed, period)


def names(batch) -> list[tuple[str, int]]:
    return [(pick.source, pick.index) for pick in batch]


@pytest.mark.parametrize(("ratio", "period"), [(1, 4), (2, 4), (4, 4), (3, 5)])
def test_a_task_runs_in_the_first_steps_of_every_period(ratio, period):
    found = batches({"a": encoded(SMALL)}, period=period, ratio=ratio)
    assert [found.active(step) for step in range(2 * period)] == ([True] * ratio + [False] * (period - ratio)) * 2


def test_a_resting_task_misses_nothing():
    sets = {"a": encoded(*[SMALL] * 12)}
    always = batches(sets)
    resting = batches(sets, ratio=2, period=5)
    active = [step for step in range(15) if resting.active(step)]
    assert [names(resting.at(step)) for step in active] == [names(always.at(turn)) for turn in range(6)]


def test_every_item_comes_once_an_epoch_and_in_another_order_in_the_next():
    found = batches({"a": encoded(*[SMALL] * 12), "b": encoded(*[SMALL] * 8)})
    epochs = [[names(found.at(step)) for step in range(5 * epoch, 5 * epoch + 5)] for epoch in range(3)]
    wanted = {("a", index): 1 for index in range(12)} | {("b", index): 1 for index in range(8)}
    assert all(Counter(sum(epoch, [])) == wanted for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_all_items_of_a_batch_have_one_shape():
    shapes = [SMALL, WIDE, LONG, (16, 7, 4, 4), (16, 6, 5, 7)] * 5
    found = batches({"a": encoded(*shapes)}, patch="2x2")
    seen = Counter()
    for step in range(40):
        batch = found.at(step)
        assert len(batch) == 4 and len({pick.shape for pick in batch}) == 1
        for pick in batch:
            assert pick.shape == crop_shape(shapes[pick.index], found.task)
        seen[batch[0].shape] += 1
    assert set(seen) == {(2, 4, 4), (2, 4, 8), (6, 4, 4)}


@pytest.mark.parametrize(
    ("shape", "changes", "used"),
    [
        ((16, 5, 7, 11), {}, (5, 4, 8)),
        ((16, 5, 7, 11), {"patch": "2x4"}, (4, 4, 8)),
        ((16, 8, 4, 4), {"patch": "2x2", "max_frames": 5}, (4, 4, 4)),
        ((16, 8, 4, 4), {"max_frames": 5}, (5, 4, 4)),
        ((16, 1, 4, 4), {"media": "image", "max_frames": 1}, (1, 4, 4)),
        ((16, 1, 4, 4), {"patch": "2x2"}, (0, 4, 4)),
        ((16, 4, 3, 4), {}, (4, 0, 4)),
    ],
)
def test_used_shape(shape, changes, used):
    assert crop_shape(shape, task(**changes)) == used


def test_the_largest_is_the_longest_clip_and_the_largest_picture():
    made = [batches({"a": encoded((16, 8, 4, 4), (16, 2, 12, 8))}), batches({"a": encoded((16, 1, 8, 16))})]
    assert made[0].shapes == [(2, 12, 8), (8, 4, 4)]
    assert training_size(made) == LatentSize(8, 8, 16)


def test_too_few_items_fill_a_batch_up():
    found = batches({"a": encoded(SMALL)}, batch=3)
    assert all(names(found.at(step)) == [("a", 0)] * 3 for step in range(4))
    found = batches({"a": encoded(*[SMALL] * 6)}, batch=4)
    for epoch in range(4):
        counts = Counter(names(found.at(2 * epoch)) + names(found.at(2 * epoch + 1)))
        assert set(counts) == {("a", index) for index in range(6)} and sum(counts.values()) == 8
        assert max(counts.values()) == 2


def test_weights_say_how_often_an_item_is_met():
    sets = {"a": encoded(*[SMALL] * 40), "b": encoded(*[SMALL] * 40), "c": encoded(*[SMALL] * 40)}
    found = batches(sets, {"a": 2.5, "b": 0.25}, batch=1)
    counts, step = Counter(), 0
    for _ in range(30):
        found.at(step)
        epoch_length = len(found._batches)
        counts += Counter(names(sum((found.at(step + turn) for turn in range(epoch_length)), [])))
        step += epoch_length
    total = Counter()
    for (source, _), count in counts.items():
        total[source] += count
    draws = 30 * 40
    assert total["c"] == draws
    assert abs(total["a"] - 2.5 * draws) < 4 * math.sqrt(draws / 4)
    assert abs(total["b"] - 0.25 * draws) < 4 * math.sqrt(draws * 3 / 16)
    assert {counts["a", index] for index in range(40)} <= set(range(60, 91))


def test_an_epoch_in_which_chance_takes_nothing_still_has_a_batch():
    found = batches({"a": encoded(SMALL)}, {"a": 0.01}, batch=2)
    assert all(names(found.at(step)) == [("a", 0)] * 2 for step in range(5))


@pytest.mark.parametrize("step", [0, 1, 17, 400])
def test_a_late_step_alone_gives_the_batch_of_a_whole_run(step):
    sets, weights = {"a": encoded(*[SMALL] * 7, *[WIDE] * 5), "b": encoded(*[LONG] * 9)}, {"b": 1.5}
    run = batches(sets, weights, ratio=2, period=3)
    whole = [run.at(number) if run.active(number) else None for number in range(step + 1)]
    alone = batches(sets, weights, ratio=2, period=3)
    if alone.active(step):
        assert alone.at(step) == whole[step]
        assert alone.at(0) == whole[0]
        assert alone.at(step) == whole[step]


def test_seeds_and_tasks_draw_differently():
    sets = {"a": encoded(*[SMALL] * 30)}
    first, again = batches(sets), batches(sets)
    assert [names(first.at(step)) for step in range(7)] == [names(again.at(step)) for step in range(7)]
    for other in (batches(sets, seed=2), batches(sets, name="other")):
        assert [names(first.at(step)) for step in range(7)] != [names(other.at(step)) for step in range(7)]


def test_a_task_takes_its_own_media_and_sources():
    sets = {"a": encoded(*[SMALL] * 4), "b": encoded(*[SMALL] * 4), "c": encoded(*[SMALL] * 4, kind="image")}
    assert {pick.source for step in range(9) for pick in batches(sets).at(step)} == {"a", "b"}
    assert {pick.source for step in range(9) for pick in batches(sets, sources=("b", "c")).at(step)} == {"b"}
    assert {pick.source for step in range(9) for pick in batches(sets, media="image").at(step)} == {"c"}


@pytest.mark.parametrize(
    ("sets", "changes"),
    [
        ({"a": encoded(SMALL, kind="image")}, {}),
        ({"a": encoded((16, 1, 4, 4))}, {"patch": "2x4"}),
        ({"a": encoded((16, 2, 3, 4))}, {}),
        ({"a": encoded((16, 1, 4, 4), kind="image"), "b": encoded(SMALL)}, {"sources": ("a",)}),
    ],
)
def test_a_task_without_any_item_is_refused(sets, changes):
    with refused("sources", "mismatch", "Task fine", "video", " a"):
        batches(sets, **changes)
