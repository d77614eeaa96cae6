"""Time grids and schedules against the official ones."""

import golden
import pytest
from refusals import refused

from lumina_core import Piecewise, ScheduleError
from lumina_core.sampling.timesteps import time_grid

GRIDS = golden.read_json("grids")["grids"]
# Those of the official ``max_stride`` are of an option that no released preset uses, and that we leave out.
PLAIN = [case for case in GRIDS if case.get("max_stride") is None]


@pytest.mark.parametrize("case", PLAIN, ids=lambda g: g["key"])
def test_grid_equals_the_official_one(case):
    expected = golden.tensors("grids")[case["key"]]
    found = time_grid(case["num_steps"], case["ts"] or 1.0)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-6
    assert bool((found.diff() > 0).all())


def rising(config):
    thresholds = [t for t, _ in config[1:]] if isinstance(config, list) else []
    return thresholds == sorted(thresholds)


TIME_AWARE = golden.read_json("time_aware")["cases"]
VALID = [c for c in TIME_AWARE if "value" in c and rising(c["config"])]
UNSORTED = [c for c in TIME_AWARE if "value" in c and not rising(c["config"])]
REFUSED = [c for c in TIME_AWARE if "raises" in c]


@pytest.mark.parametrize("case", VALID, ids=lambda c: f"{c['config']}-{c['t']}")
def test_schedule_value_equals_the_official_one(case):
    value = golden.piecewise(case["config"]).at(case["t"])
    assert (str(value) if isinstance(case["value"], str) else value) == case["value"]


@pytest.mark.parametrize("case", UNSORTED, ids=lambda c: f"{c['config']}-{c['t']}")
def test_unsorted_thresholds_are_refused(case):
    """The official code accepts them, and stops at the first threshold that is not reached."""
    with refused(None, "value", "Segment 3", "0.2", "0.5", error=ScheduleError):
        golden.piecewise(case["config"])


def test_what_the_official_code_refuses_has_no_form_here():
    assert [c["config"] for c in REFUSED] == [None, [[0.1, 2]], [1.0, 2.0]]
    assert Piecewise.constant(None).at(0.5) is None  # no value at all, written 'none'
    with refused(None, "value", "1 values", "1 thresholds", error=ScheduleError):
        Piecewise((2,), (0.1,))  # no first value
    with refused(None, "value", "2 values", "0 thresholds", error=ScheduleError):
        Piecewise((1.0, 2.0))  # no threshold


def test_every_case_is_used():
    assert (len(GRIDS), len(VALID), len(UNSORTED), len(REFUSED)) == (18, 21, 3, 3)
