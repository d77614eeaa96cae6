"""Held-out losses against loops, on the averaged weights, and clips drawn on the way."""

from pathlib import Path

import pytest
import torch
from train_case import case, recipe, train, write_clips

from lumina_core.media.reader import probe
from lumina_core.train import ema
from lumina_core.train.plot import plot_losses
from lumina_core.train.recipe import single_patch
from lumina_core.train.rng import generator
from lumina_core.train.validate import WindowLoss, read_losses, source_means, write_losses
from lumina_core.train.video import video_trainer


@pytest.fixture
def fields(tiny_set, tmp_path):
    held = write_clips(tmp_path / "held", 6)
    sources = {"clips": {"encoded": str(tmp_path / "clips"), "held_out": str(held)}}
    return case(
        tiny_set, tmp_path, network=None, start_from=str(tiny_set.model), sources=sources, steps=2,
        validation={"every": 2, "items": 5, "windows": 3},
    )  # fmt: skip


@torch.no_grad()
def test_losses_against_loops(fields):
    trainer = video_trainer(recipe(fields))
    trainer.model.module.eval()
    held = trainer.objective.held_out.sets["clips"]
    found = trainer.objective.held_out.losses(7, trainer.objective.velocity)
    assert found == trainer.objective.held_out.losses(7, trainer.objective.velocity)
    assert [(loss.task, loss.window) for loss in found] == [(t, w) for t in ("fine", "coarse") for w in range(3)]
    for loss in found:
        task, total = trainer.settings.tasks[loss.task], 0.0
        for index in range(5):
            rng = generator(3, "validation", "clips", loss.task, index)
            torch.randint(0, 1, (), generator=rng)
            data = held.latents(index)
            noise = torch.randn(data.shape, generator=rng)
            t = (loss.window + torch.rand((), generator=rng)) / 3
            assert loss.from_t <= t <= loss.to_t
            system_prompt, encoder = trainer.settings.sources["clips"].system_prompt, trainer.objective.encoder
            text, mask = encoder.encode_ids(encoder.token_ids([system_prompt + held.entries[index].caption]))
            x = (t * data + (1 - t) * noise)[None]
            motion = torch.tensor([held.entries[index].motion])
            velocity = trainer.model.module(x, t[None], text, mask, motion, single_patch(task.patch))[0]
            total += float((velocity - (data - noise)).pow(2).mean())
        assert (loss.step, loss.items, loss.patch) == (7, 5, task.patch)
        assert loss.squared_error == pytest.approx(total / 5, rel=1e-4)


def test_the_average_takes_the_place_of_the_weights_and_gives_it_back(fields):
    trainer = train(fields)
    before = {name: p.detach().clone() for p, name in trainer.names.items()}
    assert any(not torch.equal(before[name], trainer.ema[name]) for name in before)
    with pytest.raises(ZeroDivisionError), ema.applied(trainer.model.module, trainer.ema, trainer.names):
        assert all(torch.equal(p, trainer.ema[name]) for p, name in trainer.names.items())
        assert not trainer.model.module.training
        raise ZeroDivisionError
    assert all(torch.equal(p, before[name]) for p, name in trainer.names.items()) and trainer.model.module.training


def loss(step: int, error: float, source: str = "clips") -> WindowLoss:
    return WindowLoss(step, source, "fine", "1x2", 0, 0.0, 1.0, 5, error)


def test_losses_replace_those_of_later_steps(tmp_path):
    for step in (1, 2, 3, 2):
        write_losses(tmp_path, step, [loss(step, step / 2), loss(step, step / 4, "other")])
    rows = read_losses(tmp_path)
    assert [(row["step"], row["source"]) for row in rows] == [
        ("1", "clips"), ("1", "other"), ("2", "clips"), ("2", "other"),
    ]  # fmt: skip
    assert list(source_means(rows).items()) == [("other", 0.5), ("clips", 1.0)]


def test_a_plot_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="no matplotlib here: the plot of held-out losses is not drawn")
    write_losses(tmp_path, 1, [loss(1, 0.5)])
    assert plot_losses(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_a_recipe_s_samples_are_clips(tiny_set, fields):
    samples = {
        "prompts": ["a cat", "the sea"], "every": 2, "plan": {"patch": "1x2", "points": 3}, "width": 32, "height": 32,
        "frames": 8, "fps": 8,
    }  # fmt: skip
    fields |= {"samples": samples, "vae": str(tiny_set.vae)}
    train(fields)
    files = sorted((Path(fields["out"]) / "samples").iterdir())
    assert [file.name for file in files] == ["step-0000002-1.mp4", "step-0000002-2.mp4"]
    for file in files:
        found = probe(file)
        assert (found.width, found.height, found.fps) == (32, 32, 8) and found.seconds == pytest.approx(1.0)
    assert {row["step"] for row in read_losses(Path(fields["out"]))} == {"2"}
