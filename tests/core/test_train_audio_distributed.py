"""Two processes train sound as one does: one torchrun on the CPU trains several recipes."""

import csv
import re
from pathlib import Path

import pytest
import torch
from audio_train_case import case, train
from test_train_distributed import TOLERANCE, torchrun
from train_case import state

CHANGES = {"plain": {}, "bf16": {"precision": "bf16", "checkpointing": True}}


# Two processes start and train.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """For each recipe the fields of a run by one process, and by two; and what the two printed."""
    folder = tmp_path_factory.mktemp("two")
    one, two = (
        {name: case(folder, out=str(folder / kind / name), **changes) for name, changes in CHANGES.items()}
        for kind in ("one", "two")
    )
    for fields in one.values():
        train(fields)
    odd = case(folder, out=str(folder / "odd"), batch=3)
    process = torchrun([*two.values(), odd], folder, "audio_train_case.py")
    try:
        printed = process.communicate(timeout=500)[0]
    finally:
        process.kill()
    assert process.returncode == 0, printed[-4000:]
    return one, two, printed


def log(fields: dict, name: str) -> list[dict]:
    with (Path(fields["out"]) / name).open(encoding="utf-8", newline="") as lines:
        return [{key: float(value) for key, value in row.items() if key not in ("task", "patch", "seconds_per_step")}
                for row in csv.DictReader(lines)]  # fmt: skip


def test_two_processes_are_one(runs):
    one, two, _ = runs
    for step in (2, 4):
        wanted, found = state(one["plain"], step), state(two["plain"], step)
        assert wanted.keys() == found.keys() and len(wanted) == 3
        for file, tensors in wanted.items():
            assert tensors.keys() == found[file].keys()
            for name, tensor in tensors.items():
                assert float((found[file][name] - tensor).abs().max()) <= TOLERANCE, (file, name)
    for name in ("log.csv", "windows.csv"):
        wanted, found = log(one["plain"], name), log(two["plain"], name)
        assert len(found) == len(wanted) >= 4
        for mine, theirs in zip(found, wanted, strict=True):
            assert mine == pytest.approx(theirs, rel=TOLERANCE)


def test_the_steps_did_train(runs):
    first, last = (state(runs[1]["plain"], step)["weights.safetensors"] for step in (2, 4))
    assert max(float((last[name] - first[name]).abs().max()) for name in first) > 10 * TOLERANCE


def test_bf16_stays_near_and_keeps_float32_weights(runs):
    one, two, _ = runs
    for fields in (one["bf16"], two["bf16"]):
        assert {value.dtype for value in state(fields, 4)["weights.safetensors"].values()} == {torch.float32}
        for mine, exact in zip(log(fields, "log.csv"), log(one["plain"], "log.csv"), strict=True):
            assert mine["loss"] == pytest.approx(exact["loss"], rel=0.02)


def test_a_batch_that_cannot_be_shared_is_refused(runs):
    assert re.search(r"Task sound has batch 3, .* 2 processes; write a multiple of 2\.", runs[2])
