"""The one grammar of schedules: what it reads, what it writes back, what it refuses and how it says so."""

import random as pyrandom

import pytest
from refusals import refused

from lumina_core import LuminaError, PatchSize, Piecewise, ScheduleError, parse_number, parse_patch

P24, P22, P12 = PatchSize(2, 4), PatchSize(2, 2), PatchSize(1, 2)


def test_patch_size_is_frames_by_space_and_its_key_the_other_way_round():
    patch = PatchSize.parse(" 2x4 ")
    assert (patch.frames, patch.space, str(patch), patch.key) == (2, 4, "2x4", "4-2")
    assert PatchSize.from_key("4-2") == patch
    assert PatchSize.parse("2X4") == PatchSize.parse("2 × 4") == patch


@pytest.mark.parametrize("text", ["", "2", "2x", "x4", "2x4x1", "0x2", "2x0", "-1x2", "a", "1.5x2", "1x2;"])
def test_bad_patch_size(text):
    with refused(None, "value", f"'{text}'", "1x2", error=ScheduleError):
        PatchSize.parse(text)


def test_values_hold_from_their_threshold_on():
    schedule = parse_patch("2x4 | 0.03: 2x2 | 0.125: 1x2")
    assert schedule == Piecewise((P24, P22, P12), (0.03, 0.125))
    for t, expected in [(0, P24), (0.0299999, P24), (0.03, P22), (0.05, P22), (0.125, P12), (1.0, P12)]:
        assert schedule.at(t) == expected


def test_numbers_and_no_value():
    schedule = parse_number("20 | 0.2: 0")
    assert (schedule.at(0.0), schedule.at(0.19), schedule.at(0.2)) == (20.0, 20.0, 0.0)
    schedule = parse_number(" None |.5: -1.5e1 ")
    assert schedule == Piecewise((None, -15.0), (0.5,))
    assert parse_number("6") == Piecewise.constant(6.0)


@pytest.mark.parametrize(
    "text, canonical",
    [
        ("2x4|.03:2X2|0.1250:1 x 2", "2x4 | 0.03: 2x2 | 0.125: 1x2"),
        (" 1x2 ", "1x2"),
    ],
)
def test_canonical_patch_text(text, canonical):
    assert parse_patch(text).format() == str(parse_patch(text)) == canonical


@pytest.mark.parametrize(
    "text, canonical",
    [
        ("20.0|2e-1:0", "20 | 0.2: 0"),
        ("NONE | 0.05: 6.50", "none | 0.05: 6.5"),
        ("-1", "-1"),
        ("1e-7 | 0.1: 1e16", "1e-07 | 0.1: 1e+16"),
    ],
)
def test_canonical_number_text(text, canonical):
    assert parse_number(text).format() == canonical


def test_text_round_trip_of_many_schedules():
    draw = pyrandom.Random(7)
    for _ in range(500):
        count = draw.randint(0, 5)
        thresholds = tuple(
            sorted({draw.choice([draw.random(), round(draw.random(), 3), 5e-324]) for _ in range(count)})
        )
        thresholds = tuple(t for t in thresholds if 0 < t < 1)
        values = [draw.choice([None, draw.uniform(-30, 30), float(draw.randint(-5, 25)), 1e-12]) for _ in range(6)]
        numbers = Piecewise(tuple(values[: len(thresholds) + 1]), thresholds)
        assert parse_number(numbers.format()) == numbers
        assert parse_number(numbers.format()).format() == numbers.format()
        sizes = tuple(PatchSize(draw.randint(1, 12), draw.randint(1, 12)) for _ in range(len(thresholds) + 1))
        patches = Piecewise(sizes, thresholds)
        assert parse_patch(patches.format()) == patches


@pytest.mark.parametrize(
    "text, said",
    [
        ("", ["Segment 1", "'' is not a patch size", "write frames x space"]),
        ("0.1: 2x2", ["Segment 1 '0.1: 2x2' has a threshold", "write it alone"]),
        ("2x4 | 2x2", ["Segment 2 '2x2' has no threshold", "write 't: value'"]),
        ("2x4 |", ["Segment 2 '' has no threshold", "write 't: value'"]),
        ("2x4 | 0.1: ", ["Segment 2", "'' is not a patch size", "such as 1x2"]),
        ("2x4 | a: 2x2", ["Segment 2: 'a' is not a threshold", "a number between 0 and 1"]),
        ("2x4 | 0,1: 2x2", ["Segment 2: '0,1' is not a threshold"]),
        ("2x4 | 0.1: 2x2: 1x2", ["Segment 2", "'2x2: 1x2' is not a patch size"]),
        ("2x4 | 0: 2x2", ["Segment 2 starts at t = 0", "between 0 (noise) and 1 (data)"]),
        ("2x4 | 1: 2x2", ["Segment 2 starts at t = 1", "both excluded"]),
        ("2x4 | -0.1: 2x2", ["Segment 2 starts at t = -0.1"]),
        ("2x4 | nan: 2x2", ["Segment 2 starts at t = nan", "between 0"]),
        ("2x4 | inf: 2x2", ["Segment 2 starts at t = inf", "between 0"]),
        ("2x4 | 0.3: 2x2 | 0.2: 1x2", ["Segment 3 starts at t = 0.2", "threshold 0.3 before it", "rising order"]),
        ("2x4 | 0.3: 2x2 | 0.3: 1x2", ["Segment 3 starts at t = 0.3", "rising order"]),
    ],
)
def test_bad_patch_schedule(text, said):
    with pytest.raises(ScheduleError) as caught:
        parse_patch(text)
    assert isinstance(caught.value, LuminaError)
    assert [part for part in said if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["abc", "", "1 2", "0x10", "--1"])
def test_bad_number(value):
    with refused(None, "value", "Segment 2", error=ScheduleError):
        parse_number(f"6 | 0.5: {value}")


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e999"])
def test_number_must_be_finite(value):
    with refused(None, "value", "Segment 1", error=ScheduleError):
        parse_number(value)


@pytest.mark.parametrize("value", [None, 6.0, ["2x4"], b"2x4"])
def test_schedule_text_must_be_text(value):
    with refused(None, "value", "'2x4 | 0.03: 2x2'", error=ScheduleError):
        parse_patch(value)


def test_a_schedule_needs_a_value_before_each_threshold():
    with refused(None, "value", "2 values", "0 thresholds", error=ScheduleError):
        Piecewise((1, 2))
    with refused(None, "value", "0 values", "0 thresholds", error=ScheduleError):
        Piecewise(())


def test_schedules_are_values():
    assert hash(parse_patch("2x4 | 0.1: 2x2")) == hash(parse_patch("2x4|.1:2x2"))
    with pytest.raises(AttributeError):
        parse_patch("2x4").values = ()
