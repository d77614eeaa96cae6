"""Sound recipes: what they say without being told, and one sentence for what does not hold together."""

import math
from pathlib import Path

import pytest
from audio_train_case import recipe

from lumina_core import LuminaError
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
    ("changes", "words"),
    [
        ({"start_from": None}, "both or neither of start_from and network; give one of them"),
        ({"network": "S", "features": "features"}, "both or neither of start_from and network"),
        ({**NEW, "features": None}, "begins a new network and names no features; add the folder of the encoders"),
        ({**NEW, "network": "XXL"}, r"network, has preset 'XXL'; write one of S, M, L, tiny"),
        ({**NEW, "network": {"preset": 3}}, r"network, has preset 3; write one of"),
        ({**NEW, "network": 7}, r"network, is 7; write one of S, M, L, tiny, or fields"),
        ({**NEW, "network": {"dims": 3}}, r"network has an unknown field 'dims'; did you mean dim\?"),
        ({**NEW, "network": {"preset": "tiny", "patch": [2, 5]}}, r"Tokens of 5 bins do not divide 16"),
        ({"sources": {}}, "has no sources; it needs at least one"),
        ({"sources": {"one": {"encoded": "x", "weight": 0}}}, "Source one has weight 0.0; write a number above 0"),
        ({"sources": {"one": {"encoded": "x", "min_av_align": 20}}}, "Source one has min_av_align 20.0; write"),
        ({"sources": {"one": {"encoded": "x", "min_av_align": math.nan}}}, "Source one has min_av_align nan; write"),
        ({"sources": {"one": {"encoded": "x", "system_prompt": "a"}}}, "unknown field 'system_prompt'"),
        ({"batch": 0}, "has batch 0; write 1 or more"),
        ({"micro_batch": 0}, "has micro_batch 0; write 1 or more"),
        ({"steps": 0}, "has steps 0; write 1 or more"),
        ({"max_rows": 8}, r"max_rows is 8; write a multiple of 8 \(0.32 s\), 16 or more"),
        ({"max_rows": 50}, r"max_rows is 50; write a multiple of 8"),
        ({"times": "normal"}, "times is 'normal'; write one of uniform, lognorm"),
        ({"time_shift": 0}, "time_shift is 0.0; write a number above 0"),
        ({"drop": {"video": 1.5}}, "drop rate of video is 1.5; write a number from 0 to 1"),
        ({"drop": {"text": -0.1}}, "drop rate of text is -0.1; write a number from 0 to 1"),
        ({"drop": {"motion": 0.1}}, "unknown field 'motion'"),
        ({"precision": "fp16"}, "precision is 'fp16'; write fp32 or bf16"),
        ({"tasks": {}}, "unknown field 'tasks'"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_one_sentence(changes, words):
    with pytest.raises(LuminaError, match=words) as caught:
        made(**changes)
    assert str(caught.value).count("\n") == 0 and str(caught.value).endswith((".", "?"))


def test_the_shipped_recipes_are_the_two_stages():
    first, second = (read_stage(file).recipe for file in sorted(RECIPES.glob("*.yaml")))
    assert second.start_from == first.out
    assert {source.min_av_align for source in first.sources.values()} == {None}
    assert {source.min_av_align for source in second.sources.values()} == {0.2}
    assert second.optimizer.learning_rate < first.optimizer.learning_rate == 1e-4
    assert (first.batch, first.steps, first.optimizer.warmup, first.precision) == (512, 300_000, 1000, "bf16")
