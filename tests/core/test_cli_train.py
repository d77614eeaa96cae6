"""The train command: recipes in order, stops and goes on, and says one line for what is wrong."""

import json
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from train_case import case, state, train

from lumina_core.cli import main
from lumina_core.train import ema
from lumina_core.train.batches import TaskBatches
from lumina_core.train.log import TrainingLog
from lumina_core.train.loop import Trainer
from lumina_core.train.video import VideoObjective

STEPS = 5


@pytest.fixture(scope="module")
def straight(tiny_set, tmp_path_factory):
    """The recipe of a run that nothing interrupted."""
    fields = case(tiny_set, tmp_path_factory.mktemp("straight"), steps=STEPS)
    train(fields)
    return fields


@pytest.fixture
def fields(tiny_set, tmp_path):
    return case(tiny_set, tmp_path, steps=STEPS)


@pytest.fixture
def file(fields, tmp_path):
    """The recipe's file; JSON is YAML."""
    return write(tmp_path / "recipe.yaml", fields)


def write(file: Path, fields: dict) -> Path:
    file.write_text(json.dumps(fields), encoding="utf-8")
    return file


def command(capsys, *words) -> tuple[int, str, str]:
    status = main(["train", *map(str, words)])
    return status, *capsys.readouterr()


def assert_same_end(found: dict, wanted: dict) -> None:
    left, right = state(found, STEPS), state(wanted, STEPS)
    assert left.keys() == right.keys() and len(right) == 3
    assert all(torch.equal(left[file][name], right[file][name]) for file in right for name in right[file])
    lines = [
        [line.rsplit(",", 1)[0] for line in (Path(run["out"]) / "log.csv").read_text().splitlines()]
        for run in (found, wanted)
    ]
    assert lines[0] == lines[1]


def test_a_run_ends_with_its_folder(capsys, file, fields, straight):
    status, out, err = command(capsys, file)
    assert status == 0
    assert out.splitlines()[-1] == str(Path(fields["out"]) / f"step-{STEPS:07d}")
    assert "recipe" in err and f"{STEPS}/{STEPS}" in err and "coarse " in err
    assert_same_end(fields, straight)


def test_what_is_finished_is_not_done_again(capsys, file, fields):
    command(capsys, file)
    before = {path: path.stat().st_mtime_ns for path in Path(fields["out"]).rglob("*.safetensors")}
    status, out, _ = command(capsys, file)
    assert status == 0 and out == f"recipe is finished: {fields['out']}\n"
    assert {path: path.stat().st_mtime_ns for path in Path(fields["out"]).rglob("*.safetensors")} == before


class Interrupts:
    """Wraps a function: sends the signal of Ctrl+C after its ``nth`` call, so many times."""

    def __init__(self, real, nth: int, times: int = 1):
        self.real, self.left, self.times = real, nth, times

    def __get__(self, instance, owner):
        return self if instance is None else partial(self, instance)

    def __call__(self, *arguments):
        found = self.real(*arguments)
        self.left -= 1
        if not self.left:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return found


PLACES = [(TaskBatches, "at"), (torch.optim.AdamW, "step"), (ema, "update"), (TrainingLog, "write")]


@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize(("owner", "name"), PLACES)
def test_an_interrupt_anywhere_in_a_step_ends_with_it(capsys, file, fields, straight, monkeypatch, owner, name, nth):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, Interrupts(getattr(owner, name), nth))
        status, out, err = command(capsys, file)
    # Two tasks take a batch in the first and third step, one in the second.
    step = nth if name != "at" else {1: 1, 4: 3}[nth]
    folder = Path(fields["out"]) / f"step-{step:07d}"
    assert (status, out) == (130, "") and "Stopping after this step" in err
    assert err.splitlines()[-1].startswith("Interrupted") and f" {folder}." in err.splitlines()[-1]
    assert signal.getsignal(signal.SIGINT) is before
    status, out, _ = command(capsys, file)
    assert status == 0 and out.splitlines()[-1].endswith(f"step-{STEPS:07d}")
    assert_same_end(fields, straight)


@pytest.mark.parametrize(("owner", "name"), PLACES)
def test_a_second_interrupt_drops_the_step(capsys, file, fields, straight, monkeypatch, owner, name):
    nth = 3 if name != "at" else 4
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, Interrupts(getattr(owner, name), nth, times=2))
        status, _, err = command(capsys, file)
    assert status == 130
    assert err.splitlines()[-1].endswith(f" {Path(fields['out']) / 'step-0000002'}.")
    assert command(capsys, file)[0] == 0
    assert_same_end(fields, straight)


def test_an_interrupt_before_the_first_step_leaves_nothing(capsys, file, fields, monkeypatch):
    def start(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "__init__", start)
    status, out, err = command(capsys, file)
    assert (status, out) == (130, "") and "Interrupted" in err
    assert not Path(fields["out"]).exists()


def test_stages_run_in_order_and_a_later_mistake_stops_all(capsys, tmp_path, fields, monkeypatch):
    folder = tmp_path / "stages"
    folder.mkdir()
    first = fields | {"steps": 1}
    second = fields | {"steps": 2, "out": str(tmp_path / "second"), "network": None, "start_from": first["out"]}
    write(folder / "1-first.yaml", first)
    broken = write(folder / "2-second.yaml", second | {"stepz": 2})
    status, out, err = command(capsys, folder)
    assert status == 2 and out == "" and not Path(first["out"]).exists()
    assert err == f"error: {broken}: The recipe has an unknown field 'stepz'; did you mean steps?\n"
    write(broken, {name: value for name, value in second.items() if value is not None})
    status, out, _ = command(capsys, folder)
    assert status == 0
    assert out.splitlines() == [str(Path(run["out"]) / f"step-{n:07d}") for n, run in ((1, first), (2, second))]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_encoder": "nowhere/gemma"}, "nowhere/gemma"),
        ({"device": "tpu"}, "tpu"),
        ({"network": {"patches": ["1x2"]}}, "Patch size 2x4 is not in this checkpoint"),
    ],
)
def test_a_recipe_that_does_not_fit_is_one_line(capsys, tmp_path, fields, changes, words):
    fields = fields | {"network": fields["network"] | changes.pop("network", {})} | changes
    status, out, err = command(capsys, write(tmp_path / "recipe.yaml", fields))
    assert status == 2 and out == ""
    assert err.splitlines()[-1].startswith("error: ") and words in err.splitlines()[-1]


def test_a_loss_that_is_not_finite_is_one_line(capsys, tmp_path, file, monkeypatch):
    real = VideoObjective.loss

    def broken(self, task, samples):
        found = real(self, task, samples)
        return replace(found, squared=found.squared * float("nan"))

    monkeypatch.setattr(VideoObjective, "loss", broken)
    status, out, err = command(capsys, file)
    assert status == 2 and out == ""
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and "step 1" in line and "(fine)" in line and "no state was saved yet" in line
