"""Estimates from histories written by hand, whose answers can be worked out on paper."""

import pytest

from lumina_core.cost.runtime import Measured, Shape, estimate
from lumina_core.shapes.schedules import PatchSize


def shape(patch: str, flops: int, guided: bool = False, tokens: int | None = None) -> Shape:
    return Shape(patch, tokens or flops, 1, guided, flops)


COARSE, MIDDLE, FINE = shape("2x4", 10), shape("2x2", 40), shape("1x2", 80)


def run(*pairs: tuple[Shape, float]) -> list[Measured]:
    return [Measured(kind, seconds) for kind, seconds in pairs]


def test_no_runs_say_nothing():
    assert estimate([], [(FINE, 3)]) is None
    assert estimate([[]], [(FINE, 3)]) is None
    assert estimate([run((FINE, 1.0))], []) is None


def test_shapes_that_ran_take_their_median():
    history = [run((FINE, 1.0), (COARSE, 0.1)), run((FINE, 3.0)), run((FINE, 2.0))]
    found = estimate(history, [(COARSE, 10), (FINE, 3)])
    assert found.parts == pytest.approx((1.0, 6.0)) and found.seconds == pytest.approx(7.0)
    assert found.exact and found.runs == 3


def test_one_slow_run_does_not_move_the_estimate():
    history = [run((FINE, seconds)) for seconds in (1.0, 1.0, 90.0, 1.0, 1.0)]
    assert estimate(history, [(FINE, 2)]).seconds == pytest.approx(2.0)


def test_only_runs_of_the_shapes_asked_for_are_counted_when_all_ran():
    history = [run((FINE, 1.0)), run((COARSE, 0.1))]
    assert estimate(history, [(FINE, 1)]).runs == 1
    assert estimate(history, [(FINE, 1), (MIDDLE, 1)]).runs == 2


def test_one_known_shape_is_scaled_by_flops():
    found = estimate([run((COARSE, 0.5))], [(FINE, 2)])
    assert found.seconds == pytest.approx(2 * 0.5 * 8)
    assert not found.exact


def test_two_shapes_tell_the_overhead_of_a_pass():
    # 0.2 s a pass and 0.01 s a FLOP.
    history = [run((COARSE, 0.3), (FINE, 1.0))]
    assert estimate(history, [(MIDDLE, 1)]).seconds == pytest.approx(0.6)
    twice = shape("2x2", 80, guided=True)
    assert estimate(history, [(twice, 1)]).seconds == pytest.approx(1.2), "a guided evaluation is two passes"


def test_an_overhead_is_never_negative():
    # The line through both would begin at -0.1 s.
    history = [run((COARSE, 0.1), (FINE, 1.5))]
    tiny = shape("2x4", 1, tokens=1)
    assert 0 < estimate(history, [(tiny, 1)]).seconds <= 0.1


def test_larger_clips_take_longer_even_where_noise_says_otherwise():
    history = [run((COARSE, 1.0), (MIDDLE, 0.9))]
    assert estimate(history, [(FINE, 1)]).seconds > 1.0


def test_one_odd_shape_does_not_bend_the_line():
    kinds = [shape("1x2", flops) for flops in (10, 20, 40, 60, 100)]
    straight = [(kind, 0.1 + 0.01 * kind.flops) for kind in kinds]
    straight[3] = (kinds[3], 20.0)
    wanted = shape("1x2", 80)
    assert estimate([run(*straight)], [(wanted, 1)]).seconds == pytest.approx(0.9)


def test_shapes_differ_by_batch_and_guidance():
    known = Shape("1x2", 64, 1, False, 80)
    for other in (Shape("1x2", 64, 2, False, 160), Shape("1x2", 64, 1, True, 160)):
        assert not estimate([run((known, 1.0))], [(other, 1)]).exact


def test_a_clock_that_did_not_move_is_no_measure():
    assert estimate([run((FINE, 0.0))], [(FINE, 1)]) is None


def test_the_flops_of_a_batch_are_those_of_its_clips():
    assert Shape.of(PatchSize(1, 2), 64, 3, True, 10**17 + 1) == Shape("1x2", 64, 3, True, 3 * 10**17 + 3)
    assert Shape.of("2x2", 64, 2, False, 7 / 2).flops == 7
