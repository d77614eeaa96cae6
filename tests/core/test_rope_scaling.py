"""Scaled rotary frequencies against tables made by plain arithmetic, as each method is written at its source."""

import math

import pytest
import torch

from lumina_core.network import in_place
from lumina_core.network.forward_options import ROPES
from lumina_core.network.rope import freqs_cis, rotate
from lumina_core.network.rope_scaling import AUTO_METHOD, WATERSHED, RopeScaling, scaled

WIDTH, BASE = 8, 256.0
EXPONENTS = (0, 2, 4, 6)
TRAINED = 44.0


def table(new_base, floor=None):
    """Of a changed base b': b'^(-e/D), and where the source takes a maximum, no less than theta_e / floor."""
    found = [new_base ** (-e / WIDTH) for e in EXPONENTS]
    if floor is None:
        return found
    return [max(value, BASE ** (-e / WIDTH) / floor) for value, e in zip(found, EXPONENTS, strict=True)]


def by_hand(method, s, t=0.0):
    """The formulas as they are printed, one frequency at a time."""
    if method == "interpolate":
        return [BASE ** (-e / WIDTH) / s for e in EXPONENTS]
    if method == "ntk":
        return table(BASE * s)
    if method == "frequency":
        target = WIDTH * math.log(TRAINED / (2 * math.pi)) / math.log(BASE)
        return table(BASE * s ** (WIDTH / target), s)
    target = (WIDTH - 1) * t + 1
    return table(BASE * s ** (WIDTH / target), s)


def frequencies(method, s, t=0.0, trained=TRAINED):
    theta = torch.tensor([BASE ** (-e / WIDTH) for e in EXPONENTS], dtype=torch.float64)
    return (theta / RopeScaling(method, (s,), (trained,), t).divisors(0, WIDTH, BASE)).tolist()


@pytest.mark.parametrize("s", [1.5, 2.0, 4.0])
@pytest.mark.parametrize("method", ["interpolate", "ntk", "frequency"])
def test_frequencies_equal_the_tables(method, s):
    assert frequencies(method, s) == pytest.approx(by_hand(method, s), rel=1e-12)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.6, 1.0])
def test_time_aware_frequencies_equal_the_tables(t):
    assert frequencies("time", 2.0, t) == pytest.approx(by_hand("time", 2.0, t), rel=1e-12)


def test_numbers_in_full():
    """Base 256, width 8, twice as long: theta is 1, 1/4, 1/16, 1/64."""
    assert frequencies("interpolate", 2.0) == pytest.approx([0.5, 0.125, 0.03125, 0.0078125])
    # 512 to the power -1/4, -1/2, -3/4.
    assert frequencies("ntk", 2.0) == pytest.approx([1, 0.21022410, 0.04419417, 0.00929068], rel=1e-6)
    # d = 8 ln(44 / 6.2832) / ln 256 = 2.808: below it 2^(2 / 2.808) = 1.6384 divides, above it 2.
    assert frequencies("frequency", 2.0) == pytest.approx([1, 0.15259, 0.03125, 0.0078125], rel=1e-4)
    # t = 0: all but the first are interpolated; t = 0.5: d = 4.5.
    assert frequencies("time", 2.0, 0.0) == pytest.approx([1, 0.125, 0.03125, 0.0078125])
    assert frequencies("time", 2.0, 0.5) == pytest.approx([1, 0.25 / 2 ** (2 / 4.5), 0.0625 / 2 ** (4 / 4.5), 1 / 128])


def test_time_aware_ends_as_ntk():
    assert frequencies("time", 3.0, 1.0) == pytest.approx(frequencies("ntk", 3.0))


def test_an_axis_shorter_than_a_wave_is_interpolated_but_for_the_first_frequency():
    """4 positions are fewer than 2 pi: no wavelength fits, and the formula's base would shrink."""
    assert frequencies("frequency", 2.0, trained=4.0) == pytest.approx([1, 0.125, 0.03125, 0.0078125])


def test_step_changes_at_the_watershed():
    early, late = (scaled("time-step", (2.0,), (TRAINED,), [t])[0] for t in (WATERSHED - 0.01, WATERSHED))
    assert (early.method, late.method) == ("interpolate", "ntk") and WATERSHED == 0.3
    assert early == scaled("interpolate", (2.0,), (TRAINED,), [0.9])[0]


@pytest.mark.parametrize("method", ROPES)
def test_up_to_the_trained_size_nothing_is_scaled(method):
    assert scaled(method, (1.0, 0.5, 0.5), (8, 4, 4), [0.1, 0.9]) == (None,)


def test_off_is_never_scaled_and_auto_is_its_method():
    assert scaled("off", (2.0, 1.0, 1.0), (8, 4, 4), [0.1]) == (None,)
    assert scaled("auto", (2.0, 1.0, 1.0), (8, 4, 4), [0.1]) == scaled(AUTO_METHOD, (2.0, 1.0, 1.0), (8, 4, 4), [0.1])


def test_an_axis_within_the_trained_length_keeps_its_frequencies():
    scaling = scaled("interpolate", (0.5, 2.0), (8, 4), [0.1])[0]
    assert scaling.divisors(0, WIDTH, BASE).tolist() == [1] * 4
    assert scaling.divisors(1, WIDTH, BASE).tolist() == [2] * 4


def test_only_what_reads_the_time_has_a_table_for_each_time():
    """The key of the table that a run keeps."""
    for method, tables in (("ntk", 1), ("frequency", 1), ("time-step", 2), ("time", 4)):
        made = {scaled(method, (2.0,), (TRAINED,), [t]) for t in (0.1, 0.2, 0.5, 0.9)}
        assert len(made) == tables, method


def test_items_at_unequal_times_have_tables_of_their_own(random, monkeypatch):
    times = [0.1, 0.4, 0.4]
    scalings = scaled("time", (2.0, 1.5), (2, 2), times)
    x = random(3, 12, 2, 16)
    rope = freqs_cis((4, 3), (8, 8), BASE, scalings=scalings)
    assert rope.shape == (3, 12, 8)
    tables = [freqs_cis((4, 3), (8, 8), BASE, scalings=(scaling,)) for scaling in scalings]
    alone = [rotate(item[None].clone(), turns) for item, turns in zip(x, tables, strict=True)]
    assert torch.equal(rotate(x.clone(), rope), torch.cat(alone))
    assert not torch.equal(rope[0], rope[1]) and torch.equal(rope[1], rope[2])
    half = rotate(x.bfloat16(), rope)
    monkeypatch.setattr(in_place, "ROPE_CHUNK_TOKENS", 5)
    assert torch.equal(in_place.rotate(x.bfloat16(), rope), half)


def test_angles_are_positions_times_scaled_frequencies():
    scaling = RopeScaling("ntk", (2.0, 1.0), (4.0, 4.0))
    rope = freqs_cis((3, 2), (WIDTH, WIDTH), BASE, scalings=(scaling,))
    expected = []
    for first in range(3):
        for second in range(2):
            angles = [first * f for f in by_hand("ntk", 2.0)] + [second * BASE ** (-e / WIDTH) for e in EXPONENTS]
            expected.append([complex(math.cos(a), math.sin(a)) for a in angles])
    assert torch.allclose(rope, torch.tensor(expected, dtype=torch.complex64), atol=1e-6)
