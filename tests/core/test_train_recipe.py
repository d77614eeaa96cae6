"""Recipes: what they must say, what they must not, and where a mistake is told to be."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
from refusals import refused
from train_case import CHANNELS, NETWORK, TASKS, case, recipe

from lumina_core import LuminaError
from lumina_core.cli.stages import KINDS, read_stage, read_stages
from lumina_core.mini.dataset import DrawnDataRecipe
from lumina_core.runtime.dataclass_schema import build
from lumina_core.train.recipe import Recipe
from lumina_core.train.shards import ShardWriter
from lumina_core.train.video import video_trainer

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "recipes").rglob("*.yaml"))
FIELDS = {
    "out": "runs/a",
    "steps": 3,
    "text_encoder": "text",
    "sources": {"clips": {"encoded": "clips"}},
    "tasks": {"fine": {"patch": "1x2", "batch": 4, "time_shift": 2}},
    "network": {},
}
REMOVED = object()


def changed(path: str, value: object) -> dict:
    """FIELDS with the value at a path such as ``tasks.fine.batch`` set, or taken out."""
    fields = copy.deepcopy(FIELDS)
    *parents, last = path.split(".")
    place = fields
    for name in parents:
        place = place.setdefault(name, {})
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return fields


def refusal(action, *arguments) -> str:
    with pytest.raises(LuminaError) as caught:
        action(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.endswith((".", "?")) and "; " in text, text
    return text


def test_the_least_that_a_recipe_says():
    found = build(Recipe, FIELDS, "the recipe")
    task = found.tasks["fine"]
    assert (task.name, task.batch, task.time_shift, task.ratio) == ("fine", 4, 2.0, 1)
    assert found.sources["clips"].encoded == Path("clips") and found.ema.every == 10
    assert found.network.config(48).text_dim == 48


@pytest.mark.parametrize(
    ("path", "value", "field", "kind", "fact"),
    [
        ("stepz", 3, "stepz", "value", "'stepz'"),
        (
            "tasks.fine.timeshift",
            3,
            "timeshift",
            "value",
            "'timeshift'",
        ),
        ("optimizer.lr", 1, "lr", "value", "'lr'"),
        ("steps", REMOVED, "steps", "value", "'steps'"),
        ("tasks.fine.time_shift", REMOVED, "time_shift", "value", "'time_shift'"),
        ("steps", "many", "steps", "value", "'many'"),
        ("steps", 2.5, "steps", "value", "2.5"),
        ("steps", True, "steps", "value", ""),
        ("optimizer.learning_rate", "fast", "learning_rate", "value", "learning_rate"),
        ("optimizer.betas", [0.9], "betas", "value", "1"),
        ("optimizer.betas", 0.9, "betas", "value", "0.9"),
        ("checkpointing", "yes", "checkpointing", "value", "'yes'"),
        ("tasks", [1], "tasks", "value", "1"),
        ("tasks.fine", 7, "fine", "value", "7"),
        ("sources.clips.encoded", 7, "encoded", "value", "7"),
        ("tasks.fine.patch", 12, "patch", "value", "12"),
    ],
)
def test_fields_that_are_not_as_they_should_be(path, value, field, kind, fact):
    with refused(field, kind, fact):
        build(Recipe, changed(path, value), "the recipe")


@pytest.mark.parametrize(
    ("path", "value", "field", "kind", "fact"),
    [
        ("tasks.fine.batch", 0, "batch", "value", "Task fine"),
        ("tasks.fine.micro_batch", 0, "micro_batch", "value", "micro_batch"),
        ("tasks.fine.ratio", 0, "ratio", "value", "0"),
        ("tasks.fine.max_frames", 0, "max_frames", "value", "max_frames"),
        ("tasks.fine.time_shift", 0, "time_shift", "value", "time_shift"),
        ("tasks.fine.time_shift", -2, "time_shift", "value", "time_shift"),
        ("tasks.fine.time_shift", float("nan"), "time_shift", "value", "time_shift"),
        ("tasks.fine.time_shift", float("inf"), "time_shift", "value", "time_shift"),
        ("tasks.fine.times", "normal", "times", "value", "'normal'"),
        ("tasks.fine.media", "photo", "media", "value", "'photo'"),
        ("tasks.fine", {"media": "image", "patch": "2x2", "batch": 1, "time_shift": 1}, "patch", "value", "1x2"),
        ("tasks.fine.patch", "2x4 | 0.1: 1x2", "patch", "value", ""),
        ("tasks.fine.patch", "2", None, "value", "'2'"),
        ("tasks.fine.sources", ["clips", "photos"], "sources", "value", "'photos'"),
        ("tasks", {}, "tasks", "missing", ""),
        ("sources", {}, "sources", "missing", ""),
        ("sources.clips.weight", 0, "weight", "value", "0.0"),
        ("sources.clips.weight", -1, "weight", "value", "-1.0"),
        ("sources.clips.weight", float("inf"), "weight", "value", ""),
        ("network", REMOVED, "start_from", "value", "start_from"),
        ("start_from", "model", "start_from", "value", "start_from"),
        ("lora", {"rank": 4}, "start_from", "missing", "start_from"),
        ("precision", "fp16", "precision", "value", "'fp16'"),
        ("steps", 0, "steps", "value", "0"),
        ("log_every", 0, "log_every", "value", "log_every"),
        ("save_every", -1, "save_every", "value", "save_every"),
        ("keep", 0, "keep", "value", "0"),
        ("drop.prompt", 1.5, "prompt", "value", "1.5"),
        ("drop.image_motion", -0.1, "image_motion", "value", "image_motion"),
        ("drop.motion", float("nan"), "motion", "value", ""),
        ("optimizer.learning_rate", 0, "learning_rate", "value", "learning_rate"),
        ("optimizer.learning_rate", float("nan"), "learning_rate", "value", "learning_rate"),
        ("optimizer.grad_clip", 0, "grad_clip", "value", "grad_clip"),
        ("optimizer.warmup", -5, "warmup", "value", "-5"),
        ("optimizer.betas", [0.9, 1.0], "betas", "value", "0.9"),
        ("ema.every", 0, "every", "value", "0"),
        ("ema.decay", 1.0, "decay", "value", "1.0"),
        ("validation.every", 0, "every", "value", "0"),
        ("validation.windows", 0, "windows", "value", "0"),
        ("validation.items", 0, "items", "value", "0"),
        ("samples", {"prompts": ["a cat"]}, "vae", "missing", ""),
        ("samples", {"prompts": ["a cat"], "every": 0}, "every", "value", "0"),
        ("samples", {"prompts": ["a cat"], "plan": {"patch": "1x2", "point": 3}}, "plan", "value", "'point'"),
        ("samples", {"prompts": ["a cat"], "plan": {}}, "plan", "value", "'patch'"),
        ("samples", {"prompts": ["a cat"], "plan": {"patch": "1x2", "points": 1}}, "points", "value", "1"),
        ("samples", {"prompts": ["a cat"], "width": 100}, "width", "value", "100"),
        ("samples", {"prompts": ["a cat"], "frames": 7}, "frames", "value", "7"),
    ],
)
def test_values_that_no_run_can_use(path, value, field, kind, fact):
    with refused(field, kind, fact):
        build(Recipe, changed(path, value), "the recipe")


@pytest.mark.parametrize("text", ["2e-4", 2e-4, "0.0002"])
def test_yaml_reads_some_numbers_as_texts(text):
    found = build(Recipe, changed("optimizer.learning_rate", text), "the recipe")
    assert found.optimizer.learning_rate == 2e-4


def test_null_leaves_out_what_may_be_left_out():
    assert build(Recipe, changed("ema", None), "the recipe").ema is None
    assert "steps, is None" in refusal(build, Recipe, changed("steps", None), "the recipe")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.relative_to(ROOT / "recipes").as_posix())
def test_shipped_recipes_hold_together(file):
    stage = read_stage(file)
    assert stage.kind in KINDS and isinstance(stage.recipe, KINDS[stage.kind].recipe)
    assert isinstance(KINDS[stage.kind].needs(stage.recipe), list)
    if stage.kind == "video":
        patches = {str(task.patch) for task in stage.recipe.tasks.values()}
        assert patches <= {"1x2", "2x2", "2x4"}
        # A recipe that samples names a size and plan that the released network takes.
        if stage.recipe.samples:
            assert stage.recipe.samples.sampling_plan().steps > 0


def test_the_mini_recipes_need_no_file_that_they_do_not_make(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stages = read_stages([ROOT / "recipes" / "mini"])
    assert [stage.kind for stage in stages] == [
        "autoencoder", "text_encoder", "drawn_data", "video", "video", "bundle",
    ]  # fmt: skip


def write(folder: Path, name: str, text: str | dict) -> Path:
    file = folder / name
    file.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty or has no fields; see recipes/"),
        ("# nothing\n", "no fields"),
        ("[1, 2]", "no fields"),
        ("steps 3", "no fields"),
        ("steps: 3\nout: [a, b\ntasks: 2\n", "is not YAML in line 3 ("),
        ("steps: 3\n\tout: b\n", "is not YAML in line 2 ("),
        ("steps: !!python/object/apply:os.getcwd []\n", "is not YAML in line 1 ("),
        ("kind: lora\n", "has kind 'lora'; write one of video, autoencoder"),
        ("kind: [1]\n", "has kind '[1]'; write one of video, autoencoder"),
        ("steps: 3\n", ": The recipe lacks the field 'out'"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, words):
    file = write(tmp_path, "a.yaml", text)
    found = refusal(read_stage, file)
    assert str(file) in found and words in found


def test_bytes_that_are_no_text_and_a_file_that_is_not_there(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00steps")
    for file in (tmp_path / "a.yaml", tmp_path / "b.yaml"):
        found = refusal(read_stages, [file])
        assert str(file) in found and "give a .yaml file" in found


def test_a_folder_without_recipes(tmp_path):
    assert "no .yaml file" in refusal(read_stages, [tmp_path])


@pytest.fixture
def whole(tmp_path):
    """A recipe whose files are all there."""
    for name in ("text", "clips", "held", "model", "vae"):
        (tmp_path / name).mkdir()
    return {
        **FIELDS, "out": str(tmp_path / "run"), "text_encoder": str(tmp_path / "text"), "vae": str(tmp_path / "vae"),
        "sources": {"clips": {"encoded": str(tmp_path / "clips"), "held_out": str(tmp_path / "held")}},
        "start_from": str(tmp_path / "model"), "network": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["text", "clips", "held", "model", "vae"])
def test_a_file_that_is_not_there_is_named(tmp_path, whole, name):
    file = write(tmp_path, "a.yaml", whole)
    assert len(read_stages([file])) == 1
    (tmp_path / name).rmdir()
    found = refusal(read_stages, [file])
    assert found.startswith(f"{file} names {tmp_path / name}, ")


def test_a_file_that_an_earlier_recipe_makes_is_taken(tmp_path, whole):
    data = {
        "kind": "drawn_data", "out": str(tmp_path / "sets"), "vae": str(tmp_path / "vae"), "clips": 1, "pictures": 1,
        "outlines": 1, "held_out": 1,
    }  # fmt: skip
    later = whole | {"sources": {"clips": {"encoded": str(tmp_path / "sets" / "clips")}}}
    order = [write(tmp_path, "1.yaml", data), write(tmp_path, "2.yaml", later)]
    stages = read_stages([tmp_path])
    assert [stage.file for stage in stages] == order and isinstance(stages[0].recipe, DrawnDataRecipe)
    assert "2.yaml names" in refusal(read_stages, order[::-1])


def test_a_source_of_other_channels_is_named(tiny_set, tmp_path):
    fields = case(tiny_set, tmp_path, network=NETWORK | {"channels": 6})
    with refused("encoded", "mismatch", "Source clips", f"{CHANNELS} channels", "6"):
        video_trainer(recipe(fields))


def test_a_held_out_set_of_other_channels_is_named(tiny_set, tmp_path):
    with ShardWriter(tmp_path / "held") as writer:
        writer.add("a", "video", "a cat", None, torch.zeros(6, 2, 4, 4), 8.0)
    sources = {"clips": {"encoded": str(tmp_path / "clips"), "held_out": str(tmp_path / "held")}}
    fields = case(tiny_set, tmp_path, sources=sources, validation={})
    with refused("held_out", "mismatch", "source clips", "6 channels"):
        video_trainer(recipe(fields))


def test_a_patch_size_that_the_network_lacks_is_named(tiny_set, tmp_path):
    fields = case(tiny_set, tmp_path, network=NETWORK | {"patches": ["1x2", "2x2"]})
    assert "Patch size 2x4 is not in this checkpoint" in refusal(video_trainer, recipe(fields))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan": {"patch": "2x2"}}, "Patch size 2x2 is not in this checkpoint, which has 1x2, 2x4"),
        ({"plan": {"patch": "2x4"}, "width": 48}, "width"),
    ],
)
def test_samples_that_the_network_cannot_make_are_refused_at_once(tiny_set, tmp_path, changes, words):
    samples = {"prompts": ["a cat"], "plan": {"patch": "1x2"}, "width": 32, "height": 32, "frames": 8} | changes
    network = NETWORK | {"patches": ["1x2", "2x4"]}
    fields = case(tiny_set, tmp_path, samples=samples, vae=str(tiny_set.vae), network=network)
    assert words in refusal(video_trainer, recipe(fields))
    assert not Path(fields["out"]).exists()


def test_a_vae_of_other_channels_is_refused_at_once(tiny_set, tmp_path):
    with ShardWriter(tmp_path / "clips") as writer:
        writer.add("a", "video", "a cat", None, torch.zeros(6, 2, 4, 4), 8.0)
    samples = {"prompts": ["a cat"], "width": 32, "height": 32, "frames": 8}
    fields = case(
        tiny_set, tmp_path, samples=samples, vae=str(tiny_set.vae), network=NETWORK | {"channels": 6}, tasks=TASKS
    )
    assert re.search("16 channels, and this checkpoint's 6", refusal(video_trainer, recipe(fields)))
