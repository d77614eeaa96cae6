"""Saved states: whole or not there, whatever happens while one is written."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from refusals import refused
from safetensors import SafetensorError
from train_case import case, recipe, state, train

from lumina_core import LuminaError, load_video_model
from lumina_core.train.state import State, load_state, newest_state, save_state, saved_states
from lumina_core.train.video import video_trainer

FILES = {"weights.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"}


def a_state(step: int, **changes) -> State:
    tensors = {name: {"a": torch.full((3,), step + shift)} for name, shift in (("weights", 0.0), ("ema", 0.5))}
    return State(**{"step": step, **tensors, "optimizer": {"first.a": torch.ones(3)}, **changes})


def same(left: State, right: State) -> bool:
    return (left.step, left.lora) == (right.step, right.lora) and all(
        one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
        for one, two in ((left.weights, right.weights), (left.ema, right.ema), (left.optimizer, right.optimizer))
    )


@pytest.mark.parametrize("changes", [{}, {"ema": {}}, {"optimizer": {}}, {"lora": True}])
def test_round_trip(tmp_path, changes):
    saved = a_state(12, **changes)
    folder = save_state(tmp_path / "run", saved, {"lumina_video": "{}"}, keep=2)
    assert folder.name == "step-0000012" and same(load_state(folder), saved)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [folder.name]


def test_metadata_stands_in_every_file(tmp_path):
    folder = save_state(tmp_path, a_state(1), {"lumina_video": "settings"}, keep=1)
    for file in folder.glob("*.safetensors"):
        with safetensors.safe_open(file, "pt") as opened:
            assert opened.metadata() == {"lumina_video": "settings", "format": "pt"}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_states_stay(tmp_path, keep):
    (tmp_path / "log.csv").write_text("step\n")
    for step in (2, 10, 9_999_999, 12_345_678):
        save_state(tmp_path, a_state(step), {}, keep)
    wanted = ["step-0000002", "step-0000010", "step-9999999", "step-12345678"][-keep:]
    assert [path.name for path in saved_states(tmp_path)] == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["log.csv", *wanted])
    assert load_state(newest_state(tmp_path)).step == 12_345_678


def test_a_step_saved_again_replaces_the_first(tmp_path):
    save_state(tmp_path, a_state(3), {}, 2)
    again = a_state(3, weights={"b": torch.zeros(2)})
    assert same(load_state(save_state(tmp_path, again, {}, 2)), again)
    assert len(saved_states(tmp_path)) == 1


def test_a_run_without_states_has_none(tmp_path):
    assert newest_state(tmp_path) is None and newest_state(tmp_path / "nowhere") is None


def test_what_a_kill_left_behind_is_no_state(tmp_path):
    saved = save_state(tmp_path, a_state(2), {}, 2)
    shutil.copytree(saved, tmp_path / "step-0000004.part")
    half = tmp_path / "step-0000006"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    assert newest_state(tmp_path) == saved
    # Written over by the run that goes on.
    for step in (4, 6):
        whole = a_state(step)
        assert same(load_state(save_state(tmp_path, whole, {}, 3)), whole)
    assert [path.name for path in saved_states(tmp_path)] == ["step-0000002", "step-0000004", "step-0000006"]
    assert not list(tmp_path.glob("*.part"))


def failing(after: int, error: Exception):
    """A save_file that writes half of a file and fails, after so many whole ones."""
    real, calls = safetensors.torch.save_file, []

    def save_file(tensors, file, metadata=None):
        calls.append(file)
        if len(calls) > after:
            Path(file).write_bytes(b"half a file")
            raise error
        real(tensors, file, metadata)

    return save_file


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: disk full")])
def test_a_full_disk_leaves_the_older_state(tmp_path, monkeypatch, after, error):
    older = a_state(2)
    folder = save_state(tmp_path, older, {}, 1)
    monkeypatch.setattr(safetensors.torch, "save_file", failing(after, error))
    with refused("out", "resource", "step 4", str(tmp_path), str(error), str(folder)):
        save_state(tmp_path, a_state(4), {}, 1)
    assert list(tmp_path.iterdir()) == [folder] and same(load_state(folder), older)


def test_a_full_disk_at_the_first_state_says_that_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors.torch, "save_file", failing(0, OSError("full")))
    with refused("out", "resource"):
        save_state(tmp_path / "run", a_state(4), {}, 1)


def test_a_run_goes_on_when_the_disk_has_room_again(tiny_set, tmp_path, monkeypatch):
    fields = case(tiny_set, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", failing(3, OSError("full")))
        with refused("out", "resource", "step-0000002"):
            train(fields)
    train(fields)
    whole = case(tiny_set, tmp_path) | {"out": str(tmp_path / "whole")}
    train(whole)
    for file, tensors in state(whole, 4).items():
        found = state(fields, 4)[file]
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items()), file


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "7", '{"step": "two"}', '{"step": null}'])
def test_a_damaged_state_file_is_named(tmp_path, text):
    folder = save_state(tmp_path, a_state(2), {}, 1)
    (folder / "state.json").write_text(text)
    with refused("out", "file", "step-0000002"):
        load_state(folder)


@pytest.mark.parametrize("name", sorted(FILES - {"state.json"}))
def test_a_cut_off_tensor_file_is_named(tmp_path, name):
    folder = save_state(tmp_path, a_state(2), {}, 1)
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    with pytest.raises(LuminaError, match=name):
        load_state(folder)


@pytest.fixture(scope="module")
def run(tiny_set, tmp_path_factory):
    fields = case(tiny_set, tmp_path_factory.mktemp("run"), steps=2)
    train(fields)
    return fields


def test_a_run_s_states_are_whole_and_load(run):
    folder = newest_state(Path(run["out"]))
    assert {file.name for file in folder.iterdir()} == FILES
    assert json.loads((folder / "state.json").read_text()) == {"step": 2}
    for name in ("weights", "ema"):
        network = load_video_model(folder / f"{name}.safetensors")
        assert torch.equal(network.pad_token, state(run, 2)[f"{name}.safetensors"]["pad_token"])


@pytest.mark.parametrize(
    "change",
    [{"network": {"ffn_hidden": 96}}, {"network": {"layers": 3}}, {"network": {"patches": ["1x2", "2x4"]}}],
)
def test_a_state_of_another_network_is_refused(run, change):
    fields = run | {"network": run["network"] | change["network"]}
    with refused("out", "mismatch", "step-0000002"):
        video_trainer(recipe(fields))


def test_an_average_can_be_left_out_later(run, tmp_path):
    shutil.copytree(run["out"], tmp_path / "run")
    trainer = video_trainer(recipe(run | {"out": str(tmp_path / "run"), "ema": None}))
    assert trainer.step == 2 and trainer.ema == {}


def test_an_average_cannot_begin_in_the_middle(run, tmp_path):
    shutil.copytree(run["out"], tmp_path / "run")
    (tmp_path / "run" / "step-0000002" / "ema.safetensors").unlink()
    with refused("out", "mismatch"):
        video_trainer(recipe(run | {"out": str(tmp_path / "run")}))
