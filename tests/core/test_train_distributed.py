"""Several processes train what one trains; recomputation and bf16 keep to it.

One torchrun starts two processes on the CPU, which train several recipes after one another.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refusals import refused
from safetensors.torch import load_file
from train_case import TASKS, case, recipe, state, train, write_clips

import lumina_core.train.distributed as distributed
from lumina_core.network.embeddings import ScalarEmbedder
from lumina_core.network.ops import TORCH_OPS
from lumina_core.train.distributed import SINGLE, DistContext, init_distributed
from lumina_core.train.video import video_trainer

TESTS = Path(__file__).parent
TOLERANCE = 1e-4


def torchrun(recipes: list[dict], folder: Path, program: str = "train_case.py") -> subprocess.Popen:
    """Start two processes that train recipes one after another."""
    files = []
    for index, fields in enumerate(recipes):
        files.append(folder / f"recipe-{index}.json")
        files[-1].write_text(json.dumps(fields), encoding="utf-8")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        TESTS / program, *files,
    ]  # fmt: skip
    modules = os.pathsep.join([str(TESTS.parents[1]), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603
        [str(part) for part in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def interrupted(process: subprocess.Popen, ready: Callable[[], bool]) -> str:
    """What it printed after an interrupt, sent when ``ready``; kills it when it does not end then."""
    deadline = time.monotonic() + 500
    while process.poll() is None and time.monotonic() < deadline and not ready():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=100)[0]
    finally:
        process.kill()
        process.wait()


class Runs:
    """Recipes by name, each trained by one process and by two."""

    def __init__(self, tiny_set, folder: Path):
        clips = write_clips(folder / "clips")
        lora = {"network": None, "start_from": str(tiny_set.model), "lora": {"rank": 2, "alpha": 2.0}}
        self.changes = {"plain": {}, "bf16": {"precision": "bf16", "checkpointing": True}, "lora": lora}
        self.one, self.two = (
            {
                name: case(tiny_set, folder, out=str(folder / kind / name), **changes)
                for name, changes in self.changes.items()
            }
            for kind in ("one", "two")
        )
        for fields in self.one.values():
            train(fields)
        # What two go on from was written by one, and the other way round.
        self.handed = {**self.one["plain"], "out": str(folder / "handed")}
        first = "step-0000002"
        shutil.copytree(Path(self.one["plain"]["out"]) / first, Path(self.handed["out"]) / first)
        self.broken = {**self.two["plain"], "out": str(folder / "broken"), "sources": _with_nan(clips, folder)}
        self.uneven = {
            **self.two["plain"],
            "out": str(folder / "uneven"),
            "tasks": {"odd": {**TASKS["fine"], "batch": 3}},
        }
        # Trained at last, until the interrupt comes.
        self.endless = {**self.two["plain"], "out": str(folder / "endless"), "steps": 10**6, "save_every": 10**6}
        process = torchrun([*self.two.values(), self.handed, self.broken, self.uneven, self.endless], folder)
        self.printed = interrupted(process, lambda: len(log(self.endless)) > 3)
        self.status = process.returncode
        assert len(log(self.endless)) > 3, self.printed[-4000:]


def _with_nan(clips: Path, folder: Path) -> dict:
    """The clips, of which one is broken: it comes to one of the processes at a time."""
    from safetensors.torch import save_file

    shutil.copytree(clips, folder / "nan")
    (shard,) = (folder / "nan").glob("*.safetensors")
    latents = load_file(shard)
    latents["00003"] = torch.full_like(latents["00003"], float("nan"))
    save_file(latents, shard)
    return {"clips": {"encoded": str(folder / "nan")}}


# Two processes start and train.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tiny_set, tmp_path_factory) -> Runs:
    return Runs(tiny_set, tmp_path_factory.mktemp("two"))


def compare(one: dict, two: dict, step: int, tolerance: float = TOLERANCE) -> None:
    wanted, found = state(one, step), state(two, step)
    assert wanted.keys() == found.keys() and len(wanted) == 3
    for file, tensors in wanted.items():
        assert tensors.keys() == found[file].keys()
        for name, tensor in tensors.items():
            assert found[file][name].shape == tensor.shape
            assert float((found[file][name] - tensor).abs().max()) <= tolerance, (file, name)


def log(fields: dict, name: str = "log.csv") -> list[list[str]]:
    file = Path(fields["out"]) / name
    rows = list(csv.reader(file.open(encoding="utf-8"))) if file.is_file() else []
    return [row[:-1] if name == "log.csv" else row for row in rows]


@pytest.mark.parametrize("name", ["plain", "lora"])
def test_two_processes_are_one(runs, name):
    for step in (2, 4):
        compare(runs.one[name], runs.two[name], step)
    for file in ("log.csv", "windows.csv"):
        wanted, found = log(runs.one[name], file), log(runs.two[name], file)
        assert [row[:3] for row in found] == [row[:3] for row in wanted] and len(wanted) > 4
        for mine, theirs in zip(found[1:], wanted[1:], strict=True):
            assert [float(v) for v in mine[3:]] == pytest.approx([float(v) for v in theirs[3:]], rel=TOLERANCE)


def test_the_steps_did_train(runs):
    first, last = (state(runs.two["plain"], step)["weights.safetensors"] for step in (2, 4))
    assert max(float((last[name] - first[name]).abs().max()) for name in first) > 100 * TOLERANCE / 4


def test_bf16_stays_near_and_keeps_float32_weights(runs):
    for fields in (runs.one["bf16"], runs.two["bf16"]):
        weights = state(fields, 4)["weights.safetensors"]
        assert {value.dtype for value in weights.values()} == {torch.float32}
        exact = log(runs.one["plain"])
        for mine, theirs in zip(log(fields)[1:], exact[1:], strict=True):
            assert float(mine[3]) == pytest.approx(float(theirs[3]), rel=0.02)


def test_two_go_on_from_the_state_of_one(runs):
    compare(runs.one["plain"], runs.handed, 4)
    assert [row[0] for row in log(runs.handed)[1:]] == ["3", "3", "4"]


def test_one_goes_on_from_the_state_of_two(runs, tmp_path):
    fields = {**runs.two["plain"], "out": str(tmp_path / "run")}
    shutil.copytree(Path(runs.two["plain"]["out"]) / "step-0000002", tmp_path / "run" / "step-0000002")
    train(fields)
    compare(runs.one["plain"], fields, 4)


def test_a_loss_that_is_not_finite_in_one_process_stops_all(runs):
    told = re.findall(r"error of process (\d): The loss of step \d is NaN or infinite", runs.printed)
    assert sorted(told) == ["0", "1"]


def test_a_batch_that_cannot_be_shared_is_refused(runs):
    assert re.search(r"Task odd has batch 3, .* 2 processes; write a multiple of 2\.", runs.printed)


def test_an_interrupt_ends_all_processes(runs):
    assert runs.status != 0 and "KeyboardInterrupt" in runs.printed
    rows = len(log(runs.endless))
    time.sleep(1)
    assert len(log(runs.endless)) == rows, "a process goes on"


def test_shares_are_the_whole_batch():
    shares = [list(DistContext(rank, 3).share(12)) for rank in range(3)]
    assert sorted(sum(shares, [])) == list(range(12)) and {len(share) for share in shares} == {4}
    assert SINGLE.is_main and not DistContext(1, 3).is_main


def test_without_torchrun_it_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with init_distributed("cpu") as dist:
        assert dist == DistContext(0, 1, torch.device("cpu"))


def test_an_old_torch_gets_a_sentence(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delattr(torch.distributed.fsdp, "fully_shard")
    with refused("torch", "missing", "2.6", torch.__version__):
        with init_distributed("cpu"):
            pass


def test_mps_is_no_place_for_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "pick_device", torch.device)
    with refused("device", "value", "mps"):
        with init_distributed("mps"):
            pass


def test_processes_that_see_other_states_are_stopped(monkeypatch):
    monkeypatch.setattr(DistContext, "sum", lambda self, values: values + 4)
    with refused("out", "mismatch", "Process 1", "step 2"):
        DistContext(1, 2).check_same_step(2)
    DistContext(1, 2).check_same_step(4)


def gradients(fields: dict) -> dict[str, torch.Tensor]:
    """Of one step at weights that are not the first ones, where most gradients are zero."""
    trainer = video_trainer(recipe(fields))
    numbers = torch.Generator().manual_seed(2)
    for parameter in trainer.names:
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=numbers)
    found = {}
    for batches in trainer.objective.batches:
        trainer._accumulate(batches.task, batches.at(0))
    for parameter, name in trainer.names.items():
        found[name] = parameter.grad
    return found


def test_recomputed_activations_give_the_same_gradients(tiny_set, tmp_path):
    wanted = gradients(case(tiny_set, tmp_path))
    found = gradients(case(tiny_set, tmp_path, checkpointing=True))
    missing = {name for name, gradient in wanted.items() if gradient is None}
    assert missing == {name for name in wanted if ".2-2." in name}, "no task has this patch size"
    for name in wanted.keys() - missing:
        assert torch.equal(found[name], wanted[name])


def test_micro_batches_add_up(tiny_set, tmp_path):
    tasks = {"fine": {**TASKS["fine"], "micro_batch": 3}, "coarse": {**TASKS["coarse"], "micro_batch": 4}}
    wanted, found = gradients(case(tiny_set, tmp_path)), gradients(case(tiny_set, tmp_path, tasks=tasks))
    for name, gradient in wanted.items():
        assert gradient is None or torch.allclose(found[name], gradient, atol=1e-5)


def test_bf16_training_lowers_the_loss(tiny_set, tmp_path):
    task = {"fine": {**TASKS["fine"], "batch": 2}}
    fields = case(tiny_set, tmp_path, precision="bf16", tasks=task, steps=40, save_every=40, log_every=10)
    trainer = train(fields)
    losses = [float(row[3]) for row in log(fields)[1:]]
    assert losses[-1] < 0.95 * losses[0]
    assert {value.dtype for value in trainer.model.module.state_dict().values()} == {torch.float32}


def test_conditioning_is_float32_under_autocast():
    embedder = ScalarEmbedder(48, TORCH_OPS)
    values = torch.tensor([3.0, 700.0])
    wanted = embedder(values, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(embedder(values, torch.bfloat16), wanted)
        assert embedder.mlp[2](wanted).dtype == torch.bfloat16, "autocast was off"
