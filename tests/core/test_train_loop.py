"""A training step against a slow one written out, and runs that end the same however often they were stopped."""

import csv
import math
from pathlib import Path

import pytest
import torch
from refusals import refused
from train_case import CHANNELS, TASKS, case, recipe, state, train

from lumina_core.checkpoints.video import load_video_model
from lumina_core.shapes.latents import LatentSize
from lumina_core.text.gemma import MAX_TOKENS
from lumina_core.train.loop import Trainer
from lumina_core.train.recipe import single_patch
from lumina_core.train.rng import generator
from lumina_core.train.settings import Optimizer
from lumina_core.train.shards import ShardWriter
from lumina_core.train.training_sample import make_sample
from lumina_core.train.video import video_trainer

STEPS = 7
RESTING = {
    f"all_{part}.2-2.{tensor}"
    for part, tensors in {"x_embedder": ("",), "final_layer": ("linear.", "adaLN_modulation.1.")}.items()
    for tensor in (tensor + end for tensor in tensors for end in ("weight", "bias"))
}
"""The weights of 2x2, which no task trains."""


@pytest.fixture
def fields(tiny_set, tmp_path):
    """fields(**changes): a recipe that goes on from the tiny checkpoint, all of whose weights are at work."""

    def build(**changes) -> dict:
        return case(tiny_set, tmp_path, **{"network": None, "start_from": str(tiny_set.model), **changes})

    return build


@pytest.fixture(scope="module")
def straight(tiny_set, tmp_path_factory):
    """The recipe and trainer of a run that nothing interrupted."""
    fields = case(tiny_set, tmp_path_factory.mktemp("straight"), steps=STEPS)
    return fields, train(fields)


def slow_gradients(trainer: Trainer, step: int) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Algorithm 1 item by item: gradients by parameter name, and the loss of each task."""
    setup = trainer.settings
    period = max(task.ratio for task in setup.tasks.values())
    gradients: dict[str, torch.Tensor] = {}
    losses = {}
    for batches in trainer.objective.batches:
        task = batches.task
        if step % period >= task.ratio:
            continue
        losses[task.name] = 0.0
        for place, pick in enumerate(batches.at(step)):
            chosen = trainer.objective.sets[pick.source]
            rng = generator(setup.seed, task.name, step, place)
            source = setup.sources[pick.source]
            item = make_sample(
                chosen.entries[pick.index], chosen.latents(pick.index), pick.shape, source, task, setup.drop, rng
            )
            x = item.t * item.data + (1 - item.t) * item.noise
            ids = [row[:MAX_TOKENS] for row in trainer.objective.encoder.token_ids([item.text])]
            with torch.no_grad():
                text, mask = trainer.objective.encoder.encode_ids(ids)
            motion = torch.tensor([item.motion])
            found = trainer.model.module(x[None], item.t[None], text, mask, motion, single_patch(task.patch))[0]
            truth = item.data - item.noise
            cosine = (found * truth).sum() / (found.norm() * truth.norm())
            loss = ((found - truth) ** 2).mean() + setup.direction_weight * (1 - cosine)
            losses[task.name] += float(loss.detach()) / task.batch
            parts = torch.autograd.grad(loss, list(trainer.names), allow_unused=True)
            for name, part in zip(trainer.names.values(), parts, strict=True):
                if part is not None:
                    gradients[name] = gradients.get(name, 0) + part / task.batch
    return gradients, losses


def accumulated(trainer: Trainer, step: int = 0) -> dict[str, torch.Tensor]:
    """The gradients that the loop itself gathers in a step."""
    trainer.optimizer.zero_grad(set_to_none=True)
    for batches in trainer.objective.batches:
        if batches.active(step):
            trainer._accumulate(batches.task, batches.at(step))
    found = {name: p.grad.clone() for p, name in trainer.names.items() if p.grad is not None}
    trainer.optimizer.zero_grad(set_to_none=True)
    return found


def assert_close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tolerance: float = 1e-4) -> None:
    assert found.keys() == wanted.keys()
    whole = torch.cat([tensor.flatten() for tensor in wanted.values()]).norm()
    for name, tensor in wanted.items():
        assert float((found[name] - tensor).norm()) <= tolerance * float(tensor.norm()) + 1e-7 * float(whole), name


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_gradients_of_tasks_and_items_add_up(fields, weight):
    trainer = video_trainer(recipe(fields(direction_weight=weight)))
    wanted, _ = slow_gradients(trainer, 0)
    assert {name for name in trainer.names.values() if name not in wanted} == RESTING
    assert_close(accumulated(trainer), wanted)


@pytest.mark.parametrize("micro", [1, 2, 3])
def test_micro_batches_give_the_gradient_of_the_whole_batch(fields, micro):
    tasks = {name: {**task, "micro_batch": None} for name, task in TASKS.items()}
    parts = {name: {**task, "micro_batch": micro} for name, task in TASKS.items()}
    whole = accumulated(video_trainer(recipe(fields(tasks=tasks))))
    assert_close(accumulated(video_trainer(recipe(fields(tasks=parts)))), whole)


def test_three_steps_against_adamw_written_out(fields):
    settings = {
        "learning_rate": 1e-3, "betas": [0.8, 0.9], "eps": 1e-3, "weight_decay": 0.1, "grad_clip": 0.5, "warmup": 2,
    }  # fmt: skip
    trainer = video_trainer(recipe(fields(optimizer=settings, ema={"decay": 0.75, "every": 2}, steps=9)))
    weights = {name: p.detach().clone() for p, name in trainer.names.items()}
    start = {name: tensor.clone() for name, tensor in weights.items()}
    average = {name: tensor.clone() for name, tensor in weights.items()}
    first = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    second = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    counts = dict.fromkeys(weights, 0)
    for step, rate in enumerate((5e-4, 1e-3, 1e-3)):
        gradients, losses = slow_gradients(trainer, step)
        norm = math.sqrt(sum(float(part.double().pow(2).sum()) for part in gradients.values()))
        for name, part in gradients.items():
            part = part * min(1.0, 0.5 / norm)
            counts[name] += 1
            first[name] = 0.8 * first[name] + 0.2 * part
            second[name] = 0.9 * second[name] + 0.1 * part**2
            mean = first[name] / (1 - 0.8 ** counts[name])
            spread = (second[name] / (1 - 0.9 ** counts[name])).sqrt()
            weights[name] = weights[name] * (1 - rate * 0.1) - rate * mean / (spread + 1e-3)
        if step == 1:
            average = {name: 0.75 * average[name] + 0.25 * weights[name] for name in weights}
        done = trainer.train_step()
        assert done.step == step + 1 and done.norm == pytest.approx(norm, rel=1e-4) and norm > 0.5
        assert done.losses == {name: pytest.approx(loss, rel=1e-4) for name, loss in losses.items()}
    # The task at 1x2 rests in the second step, and none trains 2x2.
    assert {name for name, count in counts.items() if count == 0} == RESTING
    assert {count for name, count in counts.items() if name not in RESTING} == {2, 3}
    for parameter, name in trainer.names.items():
        if name in RESTING:
            assert torch.equal(parameter, start[name])
            continue
        moved = float((weights[name] - start[name]).norm())
        assert moved > 0
        rounding = 1e-6 * float(start[name].norm())
        assert float((parameter - weights[name]).norm()) < 1e-3 * moved + rounding, name
        gone = float((average[name] - start[name]).norm())
        assert float((trainer.ema[name] - average[name]).norm()) < 1e-3 * gone + rounding, name


def test_warmup_and_decay(straight):
    settings = Optimizer(learning_rate=0.8, warmup=4, decay=5)
    found = [settings.rate(step, 12) for step in range(12)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8, 0.64, 0.48, 0.32, 0.16])
    assert [Optimizer(learning_rate=0.8).rate(step, 3) for step in range(3)] == [0.8] * 3
    assert Optimizer(learning_rate=0.8, warmup=10, decay=10).rate(0, 2) == pytest.approx(0.08)
    assert {row["learning_rate"] for row in log(straight[0])} == {"0.003"}


def log(fields: dict, name: str = "log.csv") -> list[dict]:
    with (Path(fields["out"]) / name).open(encoding="utf-8", newline="") as lines:
        return [
            {key: value for key, value in row.items() if key != "seconds_per_step"} for row in csv.DictReader(lines)
        ]


def assert_same_end(found: dict, wanted: dict, step: int = STEPS) -> None:
    """Weights, average and moments bit for bit, and the same log."""
    left, right = state(found, step), state(wanted, step)
    assert left.keys() == right.keys() and len(left) == 3
    for file, tensors in right.items():
        assert left[file].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(left[file][name], tensor), (file, name)
    for name in ("log.csv", "windows.csv"):
        assert log(found, name) == log(wanted, name)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stops", [(1,), (4,), (2, 3, 6)])
def test_a_run_stopped_anywhere_ends_as_one_that_was_not(tiny_set, tmp_path, straight, stops):
    fields = case(tiny_set, tmp_path, steps=STEPS)
    for stop in stops:

        def report(done, stop=stop):
            if done.step == stop:
                raise Stopped

        with pytest.raises(Stopped):
            video_trainer(recipe(fields)).run(report)
    train(fields)
    assert_same_end(fields, straight[0])


def test_a_run_stopped_between_its_tasks_ends_the_same(tiny_set, tmp_path, straight, monkeypatch):
    fields = case(tiny_set, tmp_path, steps=STEPS)
    trainer = video_trainer(recipe(fields))
    real = trainer._accumulate

    def accumulate(task, picks):
        if trainer.step == 4 and task.name == "coarse":
            raise Stopped
        return real(task, picks)

    trainer._accumulate = accumulate
    with pytest.raises(Stopped):
        trainer.run()
    train(fields)
    assert_same_end(fields, straight[0])


def test_a_longer_run_goes_on_from_a_shorter_one(tiny_set, tmp_path, straight):
    fields = case(tiny_set, tmp_path, steps=3)
    train(fields)
    train(fields | {"steps": STEPS})
    assert_same_end(fields, straight[0])


def test_the_log_counts_items_and_tokens(straight):
    rows = log(straight[0])
    # Latents of 2 x 4 x 8: fine rests in every second step.
    assert [(int(row["step"]), row["task"]) for row in rows] == [
        (step, task) for step in range(1, STEPS + 1) for task in (["coarse", "fine"] if step % 2 else ["coarse"])
    ]
    for row in rows:
        assert (row["patch"], int(row["items"])) == ({"coarse": "2x4", "fine": "1x2"}[row["task"]], 4)
        assert int(row["tokens"]) == {"coarse": 4 * 2, "fine": 4 * 16}[row["task"]]
        assert float(row["loss"]) == pytest.approx(
            float(row["squared_error"]) + float(row["direction_error"]), rel=1e-4
        )
    windows = log(straight[0], "windows.csv")
    for row in rows:
        parts = [part for part in windows if (part["step"], part["task"]) == (row["step"], row["task"])]
        assert sum(int(part["items"]) for part in parts) == 4
        mean = sum(int(part["items"]) * float(part["squared_error"]) for part in parts) / 4
        assert mean == pytest.approx(float(row["squared_error"]), rel=1e-4)


def test_log_lines_hold_the_mean_of_the_steps_between(tiny_set, tmp_path, straight):
    fields = case(tiny_set, tmp_path, steps=STEPS, log_every=3)
    train(fields)
    every = log(straight[0])
    rows = log(fields)
    assert [(row["step"], row["task"], row["items"]) for row in rows] == [
        ("3", "coarse", "12"), ("3", "fine", "8"), ("6", "coarse", "12"), ("6", "fine", "4"),
        ("7", "coarse", "4"), ("7", "fine", "4"),
    ]  # fmt: skip
    for row in rows[:4]:
        last = int(row["step"])
        part = [
            float(line["loss"])
            for line in every
            if last - 3 < int(line["step"]) <= last and line["task"] == row["task"]
        ]
        assert float(row["loss"]) == pytest.approx(sum(part) / len(part), rel=1e-4)


def test_equal_recipes_train_alike_and_another_seed_does_not(tiny_set, tmp_path, straight):
    fields = case(tiny_set, tmp_path, steps=STEPS)
    train(fields)
    assert_same_end(fields, straight[0])
    other = fields | {"out": str(tmp_path / "other"), "seed": 4}
    train(other)
    assert log(other) != log(fields)


def test_the_loss_falls(tiny_set, tmp_path):
    with ShardWriter(tmp_path / "clips") as writer:
        writer.add("clip", "video", "a cat", None, torch.full((CHANNELS, 2, 4, 8), 2.0), 8.0)
    fields = case(tiny_set, tmp_path, steps=24, save_every=24, log_every=8, tasks={"fine": TASKS["fine"]})
    train(fields)
    errors = [float(row["squared_error"]) for row in log(fields)]
    assert len(errors) == 3 and errors[-1] < 0.5 * errors[0]


def test_a_loss_that_is_not_finite_stops_the_run_before_it_counts(tiny_set, tmp_path):
    with ShardWriter(tmp_path / "clips") as writer:
        for index in range(12):
            latents = torch.full((CHANNELS, 2, 4, 8), float("nan") if index == 7 else 0.5)
            writer.add(f"clip-{index}", "video", "a cat", None, latents, 8.0)
    fields = case(tiny_set, tmp_path, steps=9, save_every=1, tasks={"fine": TASKS["fine"]}, keep=9)
    trainer = video_trainer(recipe(fields))
    bad = next(step for step in range(3) if any(pick.index == 7 for pick in trainer.objective.batches[0].at(step)))
    kept = "no state was saved yet" if bad == 0 else str(Path(fields["out"]) / f"step-{bad:07d}")
    with refused("learning_rate", "numerics", f"step {bad + 1}", "(fine)", kept):
        trainer.run()
    assert trainer.step == bad
    assert len(log(fields)) == bad
    for tensors in state(fields, bad).values():
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    saved = state(fields, bad).get("weights.safetensors", {})
    assert all(torch.equal(p, saved[name]) for p, name in trainer.names.items() if saved)
    assert all(tensor.isfinite().all() for tensor in trainer.model.module.state_dict().values())


def test_gradients_that_are_not_finite_stop_the_run_too(fields, monkeypatch):
    trainer = video_trainer(recipe(fields()))
    before = {name: p.detach().clone() for p, name in trainer.names.items()}
    next(iter(trainer.names)).register_hook(lambda gradient: gradient * math.inf)
    with refused("learning_rate", "numerics", "step 1", "(the gradients)", "no state was saved yet"):
        trainer.run()
    assert all(torch.equal(p, before[name]) for p, name in trainer.names.items())


@pytest.mark.parametrize("ema", [{"decay": 0.5, "every": 1}, None])
def test_a_stage_starts_from_the_average_of_an_earlier_run(tiny_set, tmp_path, ema):
    first = case(tiny_set, tmp_path, steps=3) | {"ema": ema}
    train(first)
    saved = state(first, 3)
    later = case(tiny_set, tmp_path, out=str(tmp_path / "later"), network=None, start_from=first["out"])
    trainer = video_trainer(recipe(later))
    assert trainer.step == 0
    wanted = saved["ema.safetensors" if ema else "weights.safetensors"]
    assert all(torch.equal(p, wanted[name]) for p, name in trainer.names.items())
    if ema:
        assert any(not torch.equal(p, saved["weights.safetensors"][name]) for p, name in trainer.names.items())
    else:
        assert set(saved) == {"weights.safetensors", "optimizer.safetensors"}


def test_saved_weights_are_checkpoints_of_the_recipe_s_settings(tiny_set, tmp_path):
    network = {"rope_theta": 300.0, "t_scale": 500.0, "motion_scale": 7.0}
    fields = case(tiny_set, tmp_path, steps=1)
    fields["network"] = fields["network"] | network
    trainer = train(fields)
    for name, tensors in (("weights", dict(trainer.model.saved())), ("ema", trainer.ema)):
        loaded = load_video_model(Path(fields["out"]) / "step-0000001" / f"{name}.safetensors")
        assert {field: getattr(loaded.config, field) for field in network} == network
        assert loaded.config.train_size == LatentSize(2, 4, 8)
        assert all(torch.equal(dict(loaded.named_parameters())[key], tensor) for key, tensor in tensors.items())
