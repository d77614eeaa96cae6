"""Frames at another rate are those on the screen at the time."""

import math
from fractions import Fraction

import pytest
import torch
from refusals import refused

from lumina_core.audio.frame_times import check_fps, check_frames, frame_indices


@pytest.mark.parametrize("fps", [Fraction(8), Fraction(12), Fraction(24000, 1001), Fraction(25), Fraction(30), 120])
@pytest.mark.parametrize("rate", [8, 25])
def test_every_pick_is_the_last_frame_that_has_begun(fps, rate):
    count = math.ceil(4 * fps)
    found = frame_indices(count, float(fps), rate, 4.0).tolist()
    exact = [math.floor(Fraction(number, rate) * fps) for number in range(4 * rate)]
    assert found == [min(index, count - 1) for index in exact]


def test_the_same_rate_picks_every_frame_once():
    for fps in (8, 25):
        assert frame_indices(40 * fps, fps, fps, 40).tolist() == list(range(40 * fps))


def test_a_frame_is_seen_as_long_as_it_is_shown():
    # 12 frames a second at 25: twice or three times each, and none before its time.
    found = frame_indices(48, 12, 25, 4.0)
    assert set(torch.bincount(found).tolist()) == {2, 3} and (found.diff() >= 0).all()


def test_behind_the_last_frame_that_one_stays():
    assert frame_indices(10, 10, 8, 2.0).tolist()[8:] == [9] * 8
    assert frame_indices(2, 120, 25, 0.2).tolist() == [0, 1, 1, 1, 1]


def test_the_length_is_rounded_to_frames():
    assert len(frame_indices(100, 29.97, 25, 4.004)) == 100 and len(frame_indices(100, 29.97, 8, 3.95)) == 32


@pytest.mark.parametrize("fps", [0, -25, math.nan, math.inf, 5000, True, "25", None])
def test_rates_that_are_none_are_told(fps):
    with refused("fps"):
        check_fps(fps)
    with refused("fps"):
        frame_indices(10, fps, 25, 1.0)


@pytest.mark.parametrize(
    ("count", "seconds", "field"), [(0, 1.0, "frames"), (5, 0.0, "seconds"), (5, math.nan, "seconds")]
)
def test_clips_without_a_frame_are_told(count, seconds, field):
    with refused(field):
        frame_indices(count, 25, 8, seconds)


@pytest.mark.parametrize(
    ("frames", "kind", "fact"),
    [
        (torch.zeros(4, 8, 8), "value", "(4, 8, 8)"),
        (torch.zeros(4, 3, 8, 8), "value", "(4, 3, 8, 8)"),
        (torch.zeros(4, 8, 8, 4), "value", "(4, 8, 8, 4)"),
        (torch.zeros(4, 8, 8, 3, dtype=torch.uint8), "value", "uint8"),
        (torch.zeros(4, 0, 8, 3), "value", "(4, 0, 8, 3)"),
        (torch.zeros(0, 8, 8, 3), "value", "0 frames"),
        (torch.zeros(1, 8, 8, 3), "value", "1 frame,"),
        (torch.full((4, 8, 8, 3), math.nan), "numerics", "0..1"),
    ],
)
def test_frames_of_another_kind_are_told(frames, kind, fact):
    with refused("frames", kind, fact):
        check_frames(frames)


def test_good_frames_pass():
    check_frames(torch.rand(2, 7, 5, 3))
    check_frames(torch.rand(1, 7, 5, 3), minimum=1)
    check_fps(23.976)
    check_fps(120)
