"""Sound training on the shared loop: a step against a slow one, runs that end alike however often they stopped."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from audio_train_case import NETWORK, TEXT, TOKENS, VISUAL, case, recipe, sound_item, train, write_sounds
from refusals import refused
from train_case import state

import lumina_core.train.audio.network as network
from lumina_core.checkpoints.audio import load_audio_model
from lumina_core.cli import main
from lumina_core.network.audio_conditioning import AudioCondition
from lumina_core.train.audio.shards import AudioShardWriter
from lumina_core.train.audio.trainer import audio_trainer
from lumina_core.train.audio.training_sample import make_audio_sample
from lumina_core.train.loop import Trainer
from lumina_core.train.rng import generator
from lumina_core.train.validate import read_losses

STEPS = 5
FROZEN = {"null_text", "null_text_mask"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The recipe of a run that nothing interrupted."""
    fields = case(tmp_path_factory.mktemp("straight"), steps=STEPS)
    train(fields)
    return fields


def slow_item_loss(trainer: Trainer, item) -> torch.Tensor:
    """Mean squared error of the velocity of one item, computed alone and without padding of its text."""
    x = item.t * item.data + (1 - item.t) * item.noise
    mask = torch.ones(1, len(item.text), dtype=torch.bool)
    text = item.text
    if item.no_text:
        valid = int(trainer.model.module.null_text_mask.sum())
        text, mask = trainer.model.module.null_text[:valid], torch.ones(1, valid, dtype=torch.bool)
    condition = AudioCondition.of(item.visual[None], item.sync[None], text[None], mask)
    if item.no_video:
        condition = condition.without_video()
    found = trainer.model.module(x[None], item.t[None], condition)[0]
    return ((found - (item.data - item.noise)) ** 2).mean()


def test_gradients_and_loss_of_a_step_against_items_one_by_one(tmp_path):
    trainer = audio_trainer(recipe(case(tmp_path)))
    setup, (batches,) = trainer.settings, trainer.objective.batches
    items = []
    for place, pick in enumerate(batches.at(0)):
        rng = generator(setup.seed, "sound", 0, place)
        items.append(make_audio_sample(trainer.objective.sets[pick.source].item(pick.index), pick.shape, setup, rng))
    total = sum(slow_item_loss(trainer, item) for item in items) / setup.batch
    wanted = dict(zip(trainer.names.values(), torch.autograd.grad(total, list(trainer.names)), strict=True))
    loss = trainer._accumulate(batches.task, batches.at(0))
    assert loss == pytest.approx(float(total.detach()), rel=1e-5)
    assert set(wanted) == {name for name, _ in trainer.model.module.named_parameters()} - FROZEN
    for parameter, name in trainer.names.items():
        difference = float((parameter.grad - wanted[name]).norm())
        assert difference <= 1e-4 * float(wanted[name].norm()) + 1e-6, name
    assert any(item.no_video for item in items) or float(wanted["null_visual"].norm()) == 0


@pytest.mark.parametrize("micro", [1, 3])
def test_micro_batches_add_up_to_the_batch(tmp_path, micro):
    found = []
    for size in (None, micro):
        trainer = audio_trainer(recipe(case(tmp_path, batch=6, micro_batch=size)))
        trainer._accumulate(trainer.objective.batches[0].task, trainer.objective.batches[0].at(0))
        found.append({name: parameter.grad for parameter, name in trainer.names.items()})
    for name, gradient in found[0].items():
        assert torch.allclose(found[1][name], gradient, rtol=1e-4, atol=1e-6), name
    assert max(float(gradient.abs().max()) for gradient in found[0].values()) > 1e-3


def losses_of(trainer: Trainer, items: list) -> torch.Tensor:
    with torch.no_grad():
        return trainer.objective.loss(trainer.objective.batches[0].task, items).squared


def changed(item, **values):
    return type(item)(**vars(item) | values)


def test_no_stream_leaks_into_another_item_or_from_where_it_is_left_out(tmp_path):
    trainer = audio_trainer(recipe(case(tmp_path)))
    picks, setup = trainer.objective.batches[0].at(0)[:2], trainer.settings
    first, second = (
        changed(
            make_audio_sample(trainer.objective.sets["sounds"].item(p.index), p.shape, setup, generator(place)),
            no_video=False,
            no_text=False,
        )
        for place, p in enumerate(picks)
    )
    wanted = losses_of(trainer, [first, second])
    torch.manual_seed(0)
    # Well above the features' own size, so that the loss of this network with random weights moves.
    noise = {name: 10 * torch.randn_like(getattr(second, name)) for name in ("visual", "sync", "text", "data")}
    for name, values in noise.items():
        found = losses_of(trainer, [first, changed(second, **{name: values})])
        assert float(found[0]) == pytest.approx(float(wanted[0]), rel=1e-5), name
        assert abs(float(found[1] - wanted[1])) > 1e-4, f"{name} is not read"
    for flag, names in (("no_video", ("visual", "sync")), ("no_text", ("text",))):
        left_out = changed(second, **{flag: True})
        without = losses_of(trainer, [first, left_out])
        assert abs(float(without[1] - wanted[1])) > 1e-4, flag
        other = losses_of(trainer, [first, changed(left_out, **{name: noise[name] for name in names})])
        assert torch.allclose(without, other, rtol=1e-5), f"{flag} lets its stream through"


def log(fields: dict, name: str = "log.csv") -> list[dict]:
    with (Path(fields["out"]) / name).open(encoding="utf-8", newline="") as lines:
        return [
            {key: value for key, value in row.items() if key != "seconds_per_step"} for row in csv.DictReader(lines)
        ]


def assert_same_end(found: dict, wanted: dict) -> None:
    left, right = state(found, STEPS), state(wanted, STEPS)
    assert left.keys() == right.keys() and len(left) == 3
    for file, tensors in right.items():
        assert left[file].keys() == tensors.keys()
        assert all(torch.equal(left[file][name], tensor) for name, tensor in tensors.items()), file
    assert [log(found, name) for name in ("log.csv", "windows.csv")] == [
        log(wanted, name) for name in ("log.csv", "windows.csv")
    ]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stops", [(1,), (2, 3)])
def test_a_run_stopped_anywhere_ends_as_one_that_was_not(tmp_path, straight, stops):
    fields = case(tmp_path, steps=STEPS)
    for stop in stops:

        def report(done, stop=stop):
            if done.step == stop:
                raise Stopped

        with pytest.raises(Stopped):
            audio_trainer(recipe(fields)).run(report)
    train(fields)
    assert_same_end(fields, straight)


def test_the_log_counts_items_and_tokens_and_the_loss_is_the_squared_error(straight):
    rows = log(straight)
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    for row in rows:
        # Crops of 24 x 16 latent numbers a channel, in tokens of 2 x 8.
        assert (row["task"], row["patch"], row["items"], row["tokens"]) == ("sound", "sound", "4", str(4 * 24))
        assert row["loss"] == row["squared_error"]
    windows = log(straight, "windows.csv")
    assert sum(int(row["items"]) for row in windows) == 4 * STEPS


def test_saved_states_are_sound_models_and_a_stage_starts_from_their_average(tmp_path, straight):
    folder = Path(straight["out"]) / f"step-{STEPS:07d}"
    saved = state(straight, STEPS)
    for name in ("weights", "ema"):
        model = load_audio_model(folder / f"{name}.safetensors")
        loaded = dict(model.named_parameters())
        assert model.config.train_rows == 24
        assert all(torch.equal(loaded[key], tensor) for key, tensor in saved[f"{name}.safetensors"].items())
    start = load_audio_model(straight["start_from"])
    for name in FROZEN:
        assert torch.equal(saved["weights.safetensors"][name], getattr(start, name)), "null texts are not trained"
    later = audio_trainer(recipe(case(tmp_path, start_from=straight["out"])))
    assert later.step == 0
    assert all(torch.equal(p, saved["ema.safetensors"][name]) for p, name in later.names.items())


def test_the_loss_falls(tmp_path):
    with AudioShardWriter(tmp_path / "one") as writer:
        writer.add(sound_item(1, mean=torch.full((2, 40, 16), 2.0), std=torch.zeros(2, 40, 16)))
    train(fields := case(tmp_path, sources={"one": {"encoded": str(tmp_path / "one")}}, steps=30, log_every=10))
    errors = [float(row["squared_error"]) for row in log(fields)]
    assert errors[-1] < 0.6 * errors[0]


def test_bf16_with_recomputed_blocks_stays_near(tmp_path, straight):
    fields = case(tmp_path, steps=STEPS, precision="bf16", checkpointing=True)
    train(fields)
    for mine, exact in zip(log(fields), log(straight), strict=True):
        assert float(mine["loss"]) == pytest.approx(float(exact["loss"]), rel=0.02)
    assert {tensor.dtype for tensor in state(fields, STEPS)["weights.safetensors"].values()} == {torch.float32}


@torch.no_grad()
def test_held_out_losses_against_loops(tmp_path):
    held = write_sounds(tmp_path / "held", 6, first=40)
    write_sounds(tmp_path / "held", 2, first=50, rows=16)
    sources = {"sounds": {"encoded": str(tmp_path / "sounds"), "held_out": str(held), "min_av_align": 0.5}}
    fields = case(tmp_path, sources=sources, validation={"every": 2, "items": 7, "windows": 3}, steps=2)
    trainer = audio_trainer(recipe(fields))
    # Seven were asked for; six have the first one's shape.
    found = trainer.objective.held_out.losses(7, trainer.objective.velocity)
    assert found == trainer.objective.held_out.losses(7, trainer.objective.velocity)
    setup = recipe(fields | {"drop": {"video": 0.0, "text": 0.0}})
    for loss in found:
        total = 0.0
        for index in range(6):
            rng = generator(3, "validation", "sounds", index)
            item = make_audio_sample(trainer.objective.held_out.sets["sounds"].item(index), (24, 8, 2), setup, rng)
            t = (loss.window + torch.rand((), generator=rng)) / 3
            total += float(slow_item_loss(trainer, changed(item, t=t)))
        assert (loss.step, loss.source, loss.patch, loss.items) == (7, "sounds", "sound", 6)
        assert loss.squared_error == pytest.approx(total / 6, rel=1e-4)
    trainer.model.module.requires_grad_(True)
    with torch.enable_grad():
        train(fields)
    assert {row["step"] for row in read_losses(Path(fields["out"]))} == {"2"}


class Clip:
    """Stands for the CLIP encoder: features of an empty text, 2 of whose tokens count."""

    def __init__(self, tokens: int = TOKENS, width: int = TEXT):
        self.features = torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(4))
        self.mask = torch.arange(tokens)[None] < 2
        self.folders = []

    def __call__(self, folder, device):
        self.folders.append(folder)
        return SimpleNamespace(text=lambda texts: (self.features, self.mask) if texts == [""] else None)


def new(tmp_path, **changes) -> dict:
    return case(tmp_path, **{"start_from": None, "network": NETWORK, "features": str(tmp_path / "features")} | changes)


def test_a_new_network_keeps_the_features_of_an_empty_text(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "load_clip", clip := Clip())
    first = train(new(tmp_path, steps=2))
    assert clip.folders == [tmp_path / "features" / "clip"]
    again = audio_trainer(recipe(new(tmp_path)))
    assert len(clip.folders) == 1, "a run that goes on has them"
    for module in (
        first.model.module,
        again.model.module,
        load_audio_model(Path(first.settings.out) / "step-0000002/ema.safetensors"),
    ):
        assert torch.equal(module.null_text, clip.features[0])
        assert torch.equal(module.null_text_mask, clip.mask[0].float())
    with torch.no_grad():
        fresh = audio_trainer(recipe(new(tmp_path, out=str(tmp_path / "fresh"))))
        item = make_audio_sample(fresh.objective.sets["sounds"].item(0), (24, 8, 2), fresh.settings, generator(1))
        velocity = fresh.objective.velocity(
            item.data[None],
            item.t[None],
            AudioCondition.of(item.visual[None], item.sync[None], item.text[None], torch.ones(1, len(item.text)) > 0),
        )
    assert not velocity.any(), "a new network begins with no velocity"


def test_encoders_of_another_length_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "load_clip", Clip(tokens=7))
    with refused("features", "mismatch", "7 tokens", "10", "5"):
        audio_trainer(recipe(new(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"visual": torch.zeros(13, VISUAL + 1)}, ("13, 6 and 10", "12, 6 and 10")),
        ({"mean": torch.zeros(3, 40, 16), "std": torch.zeros(3, 40, 16)}, ("3 channels and 16 mel bins",)),
        ({"text": torch.zeros(TOKENS + 1, TEXT)}, ("6 text tokens", "at most 5 tokens")),
    ],
)
def test_sounds_of_another_codec_or_encoder_are_refused(tmp_path, changes, facts):
    with AudioShardWriter(tmp_path / "odd") as writer:
        writer.add(sound_item(0))
        writer.add(sound_item(1, **changes))
    odd, even = str(tmp_path / "odd"), {"encoded": str(tmp_path / "sounds")}
    for field, fields in (
        ("encoded", {"sources": {"odd": {"encoded": odd}}}),
        ("held_out", {"sources": {"even": even | {"held_out": odd}}, "validation": {"every": 1}}),
    ):
        with refused(field, "mismatch", "sound-1", *facts):
            audio_trainer(recipe(case(tmp_path, **fields)))


def test_the_train_command_takes_sound_recipes(tmp_path, capsys, straight):
    fields = case(tmp_path, steps=STEPS)
    file = tmp_path / "sound.yaml"
    file.write_text(json.dumps({"kind": "sound", **fields}), encoding="utf-8")
    assert main(["train", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == str(Path(fields["out"]) / f"step-{STEPS:07d}") and "sound " in err
    assert_same_end(fields, straight)
    assert main(["train", str(file)]) == 0
    assert capsys.readouterr().out == f"sound is finished: {fields['out']}\n"
    file.write_text(json.dumps({"kind": "sound", **fields, "features": "nowhere/features"}), encoding="utf-8")
    assert main(["train", str(file)]) == 2
    assert "nowhere/features" in capsys.readouterr().err
