"""Sound recipes: what they say without being told, and one sentence for what does not hold together."""

import math
from pathlib import Path

import pytest
from audio_train_case import recipe
from refusals import refused

from lumina_core.cli.stages import read_stage
from lumina_core.network.audio_config import AUDIO_PRESETS
from lumina_core.train.audio.recipe import AudioRecipe

RECIPES = Path(__file__).parents[2] / "recipes" / "audio"
LEAST = {"out": "run", "steps": 2, "sources": {"one": {"encoded": "sounds"}}, "batch": 4, "start_from": "model"}
NEW = {**LEAST, "start_from": None, "network": "tiny", "features": "features"}


def made(**changes) -> AudioRecipe:
    return recipe({name: value for name, value in (LEAST | changes).items() if value is not None})


def test_a_short_recipe_means_the_published_habits():
    found = made()
    assert (found.times, found.time_shift, found.max_rows) == ("lognorm", 1.0, None)
    assert (found.drop.video, found.drop.text) == (0.1, 0.1)
    assert (found.task().name, found.task().batch, found.task().micro_batch, found.task().ratio) == (
        "sound",
        4,
        None,
        1,
    )


def test_a_network_is_a_preset_or_fields_or_both():
    assert made(**NEW).config() == AUDIO_PRESETS["tiny"]
    mixed = made(**NEW | {"network": {"preset": "tiny", "dim": 96, "sync_align": "mmaudio"}}).config()
    assert (mixed.dim, mixed.sync_align, mixed.channels) == (96, "mmaudio", 4)
    fields = made(**NEW | {"network": {"dim": 128, "heads": 4, "kv_heads": 4, "patch": [2, 4]}}).config()
    assert (fields.dim, fields.patch, fields.channels) == (128, (2, 4), 8)


@pytest.mark.parametrize(
    ("changes", "field", "kind", "fact"),
    [
        ({"start_from": None}, "start_from", "value", "start_from"),
        ({"network": "S", "features": "features"}, "start_from", "value", "start_from"),
        ({**NEW, "features": None}, "features", "missing", ""),
        ({**NEW, "network": "XXL"}, "preset", "value", "'XXL'"),
        ({**NEW, "network": {"preset": 3}}, "preset", "value", "3"),
        ({**NEW, "network": 7}, "network", "value", "7"),
        ({**NEW, "network": {"dims": 3}}, "dims", "value", "'dims'"),
        ({"sources": {}}, "sources", "missing", ""),
        ({"sources": {"one": {"encoded": "x", "weight": 0}}}, "weight", "value", "0.0"),
        ({"sources": {"one": {"encoded": "x", "min_av_align": 20}}}, "min_av_align", "value", "min_av_align"),
        ({"sources": {"one": {"encoded": "x", "min_av_align": math.nan}}}, "min_av_align", "value", "min_av_align"),
        ({"sources": {"one": {"encoded": "x", "system_prompt": "a"}}}, "system_prompt", "value", "'system_prompt'"),
        ({"batch": 0}, "batch", "value", "0"),
        ({"micro_batch": 0}, "micro_batch", "value", "micro_batch"),
        ({"steps": 0}, "steps", "value", "0"),
        ({"max_rows": 8}, "max_rows", "value", "max_rows"),
        ({"max_rows": 50}, "max_rows", "value", "max_rows"),
        ({"times": "normal"}, "times", "value", "'normal'"),
        ({"time_shift": 0}, "time_shift", "value", "time_shift"),
        ({"drop": {"video": 1.5}}, "video", "value", "1.5"),
        ({"drop": {"text": -0.1}}, "text", "value", "-0.1"),
        ({"drop": {"motion": 0.1}}, "motion", "value", "'motion'"),
        ({"precision": "fp16"}, "precision", "value", "'fp16'"),
        ({"tasks": {}}, "tasks", "value", "'tasks'"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_one_sentence(changes, field, kind, fact):
    with refused(field, kind, fact) as caught:
        made(**changes)
    assert str(caught.value).count("\n") == 0 and str(caught.value).endswith((".", "?"))


def test_a_network_that_cannot_be_built_is_refused_with_the_recipe():
    with refused("patch", "value", "5", "16"):
        made(**NEW | {"network": {"preset": "tiny", "patch": [2, 5]}})


def test_the_shipped_recipes_are_the_two_stages():
    first, second = (read_stage(file).recipe for file in sorted(RECIPES.glob("*.yaml")))
    assert second.start_from == first.out
    assert {source.min_av_align for source in first.sources.values()} == {None}
    assert {source.min_av_align for source in second.sources.values()} == {0.2}
    assert second.optimizer.learning_rate < first.optimizer.learning_rate == 1e-4
    assert (first.batch, first.steps, first.optimizer.warmup, first.precision) == (512, 300_000, 1000, "bf16")
