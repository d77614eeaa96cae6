"""Recipes: what they must say, what they must not, and where a mistake is told to be."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
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
    ("path", "value", "words"),
    [
        ("stepz", 3, "the recipe has an unknown field 'stepz'; did you mean steps?"),
        (
            "tasks.fine.timeshift",
            3,
            "the recipe, tasks, fine has an unknown field 'timeshift'; did you mean time_shift?",
        ),
        ("optimizer.lr", 1, "the recipe, optimizer has an unknown field 'lr'; known fields are learning_rate, betas"),
        ("steps", REMOVED, "the recipe lacks the field 'steps'; add it."),
        ("tasks.fine.time_shift", REMOVED, "the recipe, tasks, fine lacks the field 'time_shift'"),
        ("steps", "many", "steps, is 'many'; write a whole number."),
        ("steps", 2.5, "steps, is 2.5; write a whole number."),
        ("steps", True, "steps, is True; write a whole number."),
        ("optimizer.learning_rate", "fast", "learning_rate, is 'fast'; write a number."),
        ("optimizer.betas", [0.9], "betas, has 1 values; write 2."),
        ("optimizer.betas", 0.9, "betas, is 0.9; write a list."),
        ("checkpointing", "yes", "checkpointing, is 'yes'; write true or false."),
        ("tasks", [1], "tasks, is [1]; write names with fields below them."),
        ("tasks.fine", 7, "the recipe, tasks, fine is 7; write fields with values."),
        ("sources.clips.encoded", 7, "encoded, is 7; write a path."),
        ("tasks.fine.patch", 12, "patch, is 12; write text."),
    ],
)
def test_fields_that_are_not_as_they_should_be(path, value, words):
    assert words in refusal(build, Recipe, changed(path, value), "the recipe")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("tasks.fine.batch", 0, "Task fine has batch 0; write 1 or more"),
        ("tasks.fine.micro_batch", 0, "micro_batch 0"),
        ("tasks.fine.ratio", 0, "ratio 0"),
        ("tasks.fine.max_frames", 0, "max_frames 0"),
        ("tasks.fine.time_shift", 0, "time_shift 0.0; write a number above 0"),
        ("tasks.fine.time_shift", -2, "time_shift -2.0"),
        ("tasks.fine.time_shift", float("nan"), "time_shift nan"),
        ("tasks.fine.time_shift", float("inf"), "time_shift inf"),
        ("tasks.fine.times", "normal", "Task fine draws t as 'normal'; write one of uniform, lognorm"),
        ("tasks.fine.media", "photo", "Task fine has media 'photo'; write video or image"),
        ("tasks.fine", {"media": "image", "patch": "2x2", "batch": 1, "time_shift": 1}, "images take 1x2"),
        ("tasks.fine.patch", "2x4 | 0.1: 1x2", "is a schedule; write one patch size"),
        ("tasks.fine.patch", "2", "'2'"),
        ("tasks.fine.sources", ["clips", "photos"], "Task fine draws from 'photos', which is no source"),
        ("tasks", {}, "no sources or no tasks"),
        ("sources", {}, "no sources or no tasks"),
        ("sources.clips.weight", 0, "Source clips has weight 0.0; write a number above 0"),
        ("sources.clips.weight", -1, "weight -1.0"),
        ("sources.clips.weight", float("inf"), "weight inf"),
        ("network", REMOVED, "both or neither of start_from and network; give one"),
        ("start_from", "model", "both or neither of start_from and network; give one"),
        ("lora", {"rank": 4}, "LoRA on no checkpoint; give start_from"),
        ("precision", "fp16", "precision is 'fp16'; write fp32 or bf16"),
        ("steps", 0, "steps 0; write 1 or more"),
        ("log_every", 0, "log_every 0"),
        ("save_every", -1, "save_every -1"),
        ("keep", 0, "keep 0"),
        ("drop.prompt", 1.5, "drop rate of prompt is 1.5; write a number from 0 to 1"),
        ("drop.image_motion", -0.1, "drop rate of image_motion"),
        ("drop.motion", float("nan"), "drop rate of motion is nan"),
        ("optimizer.learning_rate", 0, "learning_rate 0.0; write a number above 0"),
        ("optimizer.learning_rate", float("nan"), "learning_rate nan"),
        ("optimizer.grad_clip", 0, "grad_clip 0.0"),
        ("optimizer.warmup", -5, "warmup -5; write 0 or more"),
        ("optimizer.betas", [0.9, 1.0], "betas [0.9, 1.0]"),
        ("ema.every", 0, "every 0; write 1 or more"),
        ("ema.decay", 1.0, "decay 1.0; write a number from 0 to below 1"),
        ("validation.every", 0, "The validation has every 0"),
        ("validation.windows", 0, "windows 0"),
        ("validation.items", 0, "items 0"),
        ("samples", {"prompts": ["a cat"]}, "asks for samples and names no vae; add vae"),
        ("samples", {"prompts": ["a cat"], "every": 0}, "The samples has every 0"),
        ("samples", {"prompts": ["a cat"], "plan": {"patch": "1x2", "point": 3}}, "plan with an unknown field 'point'"),
        ("samples", {"prompts": ["a cat"], "plan": {}}, "plan with no field 'patch'"),
        ("samples", {"prompts": ["a cat"], "plan": {"patch": "1x2", "points": 1}}, "points is 1"),
        ("samples", {"prompts": ["a cat"], "width": 100}, "width is 100; use a multiple of 16"),
        ("samples", {"prompts": ["a cat"], "frames": 7}, "frames is 7"),
    ],
)
def test_values_that_no_run_can_use(path, value, words):
    assert words in refusal(build, Recipe, changed(path, value), "the recipe")


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
        ("", "is empty or holds no fields; see recipes/"),
        ("# nothing\n", "is empty or holds no fields"),
        ("[1, 2]", "holds no fields"),
        ("steps 3", "holds no fields"),
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
    assert "holds no .yaml file" in refusal(read_stages, [tmp_path])


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
    assert found.startswith(f"{file} names {tmp_path / name}, which is not there; mend the path")


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
    found = refusal(video_trainer, recipe(fields))
    assert found.startswith(f"Source clips was encoded with {CHANNELS} channels, and the network has 6; encode it")


def test_a_held_out_set_of_other_channels_is_named(tiny_set, tmp_path):
    with ShardWriter(tmp_path / "held") as writer:
        writer.add("a", "video", "a cat", None, torch.zeros(6, 2, 4, 4), 8.0)
    sources = {"clips": {"encoded": str(tmp_path / "clips"), "held_out": str(tmp_path / "held")}}
    fields = case(tiny_set, tmp_path, sources=sources, validation={})
    assert "Source clips, held_out, was encoded with 6 channels" in refusal(video_trainer, recipe(fields))


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
