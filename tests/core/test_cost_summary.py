"""What the page draws: plain numbers that add up, and the place of a fault in its text."""

import json

import pytest

from lumina_core.cost.summary import fault_outline, plan_outline, schedule_outline
from lumina_core.network.config import VideoConfig
from lumina_core.sampling.plan import SamplingPlan, number_schedule, patch_schedule
from lumina_core.shapes.latents import LatentSize
from lumina_core.shapes.schedules import ScheduleError

SIZE = LatentSize(8, 16, 16)


def fault(text: str) -> dict:
    with pytest.raises(ScheduleError) as raised:
        patch_schedule(text)
    return fault_outline(text, raised.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("2x4 | 0.03: 2y2 | 0.125: 1x2", "0.03: 2y2"),
        ("2x5x", "2x5x"),
        ("2x4 |  0.5: 2x2  | 0.2: 1x2", "0.2: 1x2"),
        ("  frog  | 0.5: 1x2", "frog"),
    ],
)
def test_a_fault_is_found_in_the_text(text, part):
    found = fault(text)
    start, end = found["span"]
    assert text[start:end] == part and found["text"] == text
    assert found["error"].startswith("patch schedule")


def test_a_missing_segment_has_an_empty_span_where_it_belongs():
    text = "2x4 | 0.03: 2x2 |"
    assert fault(text)["span"] == (len(text), len(text))


def test_schedules_become_plain_values():
    outline = schedule_outline(number_schedule("motion", "none | 0.5: 2"))
    assert outline == {"text": "none | 0.5: 2", "values": [None, 2.0], "thresholds": [0.5]}
    assert schedule_outline(patch_schedule("2x4|0.5:1x2"))["values"] == ["2x4", "1x2"]


def test_segments_cover_the_steps_and_their_costs_add_up():
    plan = SamplingPlan("2x4 | 0.3: 2x2 | 0.6: 1x2", guidance="4 | 0.4: 0", points=21, solver="midpoint")
    outline = plan_outline(plan, SIZE, VideoConfig())
    segments = outline["segments"]
    assert json.loads(json.dumps(outline)) == outline
    assert [s["first_step"] for s in segments] == [1, *(s["last_step"] + 1 for s in segments[:-1])]
    assert sum(s["steps"] for s in segments) == 20 and len(outline["grid"]) == 21
    assert sum(s["evaluations"] for s in segments) == outline["nfe"] == 40
    assert sum(s["flops"] for s in segments) == outline["flops"]
    assert sum(s["share"] for s in segments) == pytest.approx(1)
    assert outline["least"] <= outline["relative"] <= 1


def test_the_memory_is_said_and_whether_it_fits():
    plan = SamplingPlan("1x2", guidance="4")
    size = LatentSize(24, 88, 156)
    unknown = plan_outline(plan, size, VideoConfig())["memory"]
    assert unknown["total"] == max(unknown["sampling"], unknown["decode"]) > unknown["weights"] > 3
    assert (unknown["room"], unknown["fits"], unknown["advice"]) == (None, None, None)
    seen = {}
    for gib in (1, 4, 100):
        told = plan_outline(plan, size, VideoConfig(), available=gib * 2**30)["memory"]
        seen[told["fits"]] = told["advice"]
        assert (told["held"] <= gib) == (told["fits"] != "no") and told["total"] == unknown["total"]
        assert told["room"] == gib and (told["advice"] is None) == (told["fits"] == "yes")
    assert list(seen) == ["no", "offload", "yes"] and "offloaded" in seen["offload"]
    fp8 = plan_outline(plan, size, VideoConfig(), weight_size=1, batch=2)["memory"]
    assert fp8["weights"] == unknown["weights"] / 2
