"""tests/fixtures/schedules.json, which the page's tests read too: the two sides agree on every schedule in it."""

import json
import math
from pathlib import Path

import pytest

from lumina_core.cost.summary import fault_outline, plan_outline, schedule_outline
from lumina_core.network.config import VideoConfig
from lumina_core.sampling.plan import SamplingPlan, number_schedule, patch_schedule
from lumina_core.sampling.presets import PRESETS
from lumina_core.shapes.latents import VideoSize
from lumina_core.shapes.schedules import PatchSize, ScheduleError

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "schedules.json").read_text(encoding="utf-8"))


def named(kind: str):
    """Parametrize by the entries of one list, called by their names."""
    return pytest.mark.parametrize("entry", FIXTURE[kind], ids=lambda entry: entry["name"])


def read(field: str, text: str):
    return patch_schedule(text) if field == "patch" else number_schedule(field, text)


def plain(value: object):
    """As JSON holds it, with the sign of a zero."""
    if isinstance(value, PatchSize):
        return str(value)
    return (value, math.copysign(1, value)) if isinstance(value, float) else value


@named("valid")
def test_text_has_these_values_and_this_canonical_form(entry: dict):
    schedule = read(entry["field"], entry["text"])
    outline = schedule_outline(schedule)
    assert outline["text"] == entry["canonical"]
    assert [plain(value) for value in outline["values"]] == [plain(value) for value in entry["values"]]
    assert outline["thresholds"] == entry["thresholds"]
    assert read(entry["field"], entry["canonical"]) == schedule


@named("valid")
def test_values_at_these_times(entry: dict):
    schedule = read(entry["field"], entry["text"])
    assert [plain(schedule.at(t)) for t, _ in entry["at"]] == [plain(value) for _, value in entry["at"]]


@named("invalid")
def test_text_is_refused_with_this_sentence_at_this_place(entry: dict):
    with pytest.raises(ScheduleError) as refused:
        read(entry["field"], entry["text"])
    outline = fault_outline(entry["text"], refused.value)
    assert (outline["error"], refused.value.segment) == (entry["error"], entry["segment"])
    assert list(outline["span"]) == entry["span"]


@named("edits")
def test_edited_text_is_canonical(entry: dict):
    assert str(read(entry["field"], entry["to"])) == entry["to"]


@pytest.mark.parametrize("entry", FIXTURE["grids"], ids=lambda entry: f"{entry['points']} points")
def test_first_steps_after_a_threshold(entry: dict):
    for t, first in entry["first_step"]:
        plan = SamplingPlan(patch=f"2x2 | {t}: 1x2", points=entry["points"], time_shift=entry["time_shift"])
        outline = plan_outline(plan, VideoSize(64, 64, 32).latent(), VideoConfig())
        assert outline["grid"] == pytest.approx(entry["grid"], rel=1e-6)
        # A threshold behind the last step's start has no step.
        found = [segment["first_step"] for segment in outline["segments"] if segment["patch"] == "1x2"]
        assert (found or [entry["points"]]) == [first]


def test_every_schedule_of_every_preset_is_here():
    texts = {(entry["field"], entry["text"]) for entry in FIXTURE["valid"]}
    for plan in PRESETS.values():
        for field in ("patch", "guidance", "motion", "negative_motion"):
            assert (field, str(getattr(plan, field))) in texts
