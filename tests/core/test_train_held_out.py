"""What a run looks at as it goes, by its averaged weights: held-out losses, their plot, and sample clips."""

import csv
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from refusals import refused
from train_case import CHANNELS, TASKS, case, recipe, state, train, write_clips
from video_frames import read_frames

from lumina_core import SamplingPlan
from lumina_core.checkpoints.video import load_video_model
from lumina_core.media.reader import probe
from lumina_core.media.writer import read_metadata, write_video
from lumina_core.sampling.noise import seeded_noise
from lumina_core.sampling.video import sample
from lumina_core.text.gemma import SYSTEM_PROMPT, load_text_encoder
from lumina_core.train import ema
from lumina_core.train.plot import plot_losses
from lumina_core.train.recipe import single_patch
from lumina_core.train.shards import EncodedSet, ShardWriter
from lumina_core.train.validate import FILE, HeldOut, WindowLoss, read_losses, source_means, write_losses
from lumina_core.train.video import video_trainer
from lumina_core.vae.loader import load_video_vae

WINDOWS = 4
PROMPTS = ["a cat on the sea", "a bird over the fire"]
SAMPLES = {
    "prompts": PROMPTS, "every": 2, "width": 64, "height": 32, "frames": 8, "fps": 5, "seed": 6,
    "plan": {"patch": "2x4 | 0.4: 1x2", "guidance": "3", "points": 4, "motion": "2"},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_clips(folder / "train")
    numbers = torch.Generator().manual_seed(8)
    with ShardWriter(folder / "held") as writer:
        for index in range(7):
            latents = torch.randn(CHANNELS, 2, 4, 8, generator=numbers)
            writer.add(f"held-{index}", "video", f"a dog {index}", None if index == 3 else index / 2, latents, 8.0)
    with ShardWriter(folder / "mixed") as writer:
        for index, (kind, shape) in enumerate([("image", (1, 4, 4)), ("video", (1, 4, 4)), ("video", (5, 4, 4)),
                                               ("video", (2, 4, 8)), ("video", (4, 4, 4))]):  # fmt: skip
            writer.add(f"{index}", kind, f"{index}", None, torch.full((CHANNELS, *shape), float(index)), None)
    return folder


@pytest.fixture
def fields(tiny_set, tmp_path, data):
    """fields(**changes): a recipe with a held-out set."""

    def build(**changes) -> dict:
        clips = {"encoded": str(data / "train"), "held_out": str(data / "held")}
        fixed = {"sources": {"clips": clips}, "validation": {"every": 2, "items": 5, "windows": WINDOWS}}
        return case(tiny_set, tmp_path, **fixed | changes)

    return build


class Recorder:
    """Stands for the network: keeps what it is asked, and answers zeros."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, texts, motion, task):
        self.calls.append((x.clone(), t.clone(), list(texts), motion.clone(), task.name))
        return torch.zeros_like(x)

    def of(self, task: str) -> list[tuple]:
        return [call for call in self.calls if call[4] == task]


def data_and_noise(first: tuple, last: tuple) -> tuple[torch.Tensor, torch.Tensor]:
    """Both from what one item looks like at two times."""
    (x0, t0), (x1, t1) = ((x.double(), t.double().view(-1, 1, 1, 1, 1)) for x, t, *_ in (first, last))
    slope = (x1 - x0) / (t1 - t0)
    noise = x0 - t0 * slope
    return slope + noise, noise


def test_every_window_is_measured_with_the_same_items_and_noise(fields, data):
    held, network = HeldOut(recipe(fields())), Recorder()
    losses = held.losses(7, network)
    assert [(loss.task, loss.patch, loss.window) for loss in losses] == [
        (task, patch, window) for task, patch in (("fine", "1x2"), ("coarse", "2x4")) for window in range(WINDOWS)
    ]
    kept = EncodedSet(data / "held")
    for task in ("fine", "coarse"):
        calls = network.of(task)
        assert len(calls) == WINDOWS
        for window, (_, t, texts, motion, _) in enumerate(calls):
            assert bool(((window / WINDOWS <= t) & (t < (window + 1) / WINDOWS)).all())
            torch.testing.assert_close(t * WINDOWS - window, calls[0][1] * WINDOWS)
            assert texts == [f"{SYSTEM_PROMPT}a dog {index}" for index in range(5)]
            assert motion.tolist() == [0.0, 0.5, 1.0, -1.0, 2.0]
        found, noise = data_and_noise(calls[0], calls[-1])
        torch.testing.assert_close(found.float(), torch.stack([kept.latents(i) for i in range(5)]), atol=1e-4, rtol=0)
        assert abs(float(noise.mean())) < 0.1 and abs(float(noise.std()) - 1) < 0.1
        wanted = float((found - noise).pow(2).flatten(1).mean(dim=1).mean())
        for loss in (loss for loss in losses if loss.task == task):
            assert (loss.step, loss.source, loss.items) == (7, "clips", 5)
            assert (loss.from_t, loss.to_t) == (loss.window / WINDOWS, (loss.window + 1) / WINDOWS)
            assert loss.squared_error == pytest.approx(wanted, rel=1e-4)


def test_measurements_repeat_and_do_not_depend_on_how_items_are_batched(fields, monkeypatch):
    first, again = Recorder(), Recorder()
    losses = HeldOut(recipe(fields())).losses(1, first)
    monkeypatch.setattr("lumina_core.train.validate.BATCH", 2)
    parts = HeldOut(recipe(fields())).losses(1, again)
    assert len(again.calls) == 3 * len(first.calls)
    for left, right in zip(losses, parts, strict=True):
        assert left.squared_error == pytest.approx(right.squared_error, rel=1e-6)
    other = HeldOut(recipe(fields(seed=9))).losses(1, Recorder())
    assert [loss.squared_error for loss in other] != [loss.squared_error for loss in losses]


@pytest.mark.parametrize(
    ("task", "numbers"),
    [
        ({"patch": "1x2", "media": "image"}, [0]),
        ({"patch": "1x2"}, [1]),
        ({"patch": "2x2"}, [2, 4]),
        ({"patch": "2x2", "max_frames": 2}, [2, 4]),
    ],
)
def test_a_task_is_measured_on_the_items_of_one_shape_that_it_can_use(fields, data, task, numbers):
    sources = {"clips": {"encoded": str(data / "train"), "held_out": str(data / "mixed")}}
    network = Recorder()
    held = HeldOut(recipe(fields(sources=sources, tasks={"only": {"batch": 2, "time_shift": 1, **task}})))
    losses = held.losses(1, network)
    assert {loss.items for loss in losses} == {len(numbers)}
    assert network.calls[0][2] == [f"{SYSTEM_PROMPT}{number}" for number in numbers]


def test_sources_are_measured_apart_behind_their_own_system_prompts(fields, data):
    both = {
        name: {"encoded": str(data / "train"), "held_out": str(data / "held"), "system_prompt": f"{name}: "}
        for name in ("left", "right")
    }
    both["silent"] = {"encoded": str(data / "train")}
    tasks = {"fine": {**TASKS["fine"], "sources": ["left"]}, "coarse": TASKS["coarse"]}
    network = Recorder()
    losses = HeldOut(recipe(fields(sources=both, tasks=tasks))).losses(1, network)
    assert list(dict.fromkeys((loss.source, loss.task) for loss in losses)) == [
        ("left", "fine"), ("left", "coarse"), ("right", "coarse"),
    ]  # fmt: skip
    assert [call[2][0] for call in network.calls[::WINDOWS]] == ["left: a dog 0", "left: a dog 0", "right: a dog 0"]


def test_validation_without_a_held_out_set_is_refused(fields, data):
    with refused("held_out", "missing"):
        HeldOut(recipe(fields(sources={"clips": {"encoded": str(data / "train")}})))


def test_a_held_out_set_that_no_task_can_use_is_refused_before_training(fields, data, tmp_path):
    with ShardWriter(tmp_path / "pictures") as writer:
        writer.add("picture", "image", "a cat", None, torch.zeros(CHANNELS, 1, 4, 4), None)
    sources = {"clips": {"encoded": str(data / "train"), "held_out": str(tmp_path / "pictures")}}
    with refused("held_out", "mismatch", str(tmp_path / "pictures"), "source clips"):
        video_trainer(recipe(fields(sources=sources)))


def rows(folder: Path) -> list[dict]:
    with (folder / FILE).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_run_measures_its_averaged_weights(fields):
    setup = fields(steps=5)
    train(setup)
    found = rows(Path(setup["out"]))
    assert list(dict.fromkeys(row["step"] for row in found)) == ["2", "4", "5"]
    network = load_video_model(Path(setup["out"]) / "step-0000005" / "ema.safetensors")
    encoder = load_text_encoder(setup["text_encoder"])

    def velocity(x, t, texts, motion, task):
        with torch.no_grad():
            text, mask = encoder.encode_ids(encoder.token_ids(texts))
            return network(x, t, text, mask, motion, single_patch(task.patch))

    wanted = HeldOut(recipe(setup)).losses(5, velocity)
    last = [row for row in found if row["step"] == "5"]
    assert [row["task"] for row in last] == [loss.task for loss in wanted]
    for row, loss in zip(last, wanted, strict=True):
        assert float(row["squared_error"]) == pytest.approx(loss.squared_error, rel=1e-5)


@pytest.mark.slow
def test_looking_does_not_change_what_is_trained(fields, tmp_path, tiny_set):
    looking = fields(steps=3, vae=str(tiny_set.vae), samples=SAMPLES)
    train(looking)
    plain = fields(steps=3, validation=None, out=str(tmp_path / "plain"))
    train(plain)
    for file, tensors in state(plain, 3).items():
        assert all(torch.equal(tensor, state(looking, 3)[file][name]) for name, tensor in tensors.items())
    assert not (tmp_path / "plain" / FILE).exists() and not (tmp_path / "plain" / "samples").exists()


def test_a_run_that_was_stopped_has_the_measurements_of_one_that_was_not(fields, tmp_path):
    whole = fields(steps=5, out=str(tmp_path / "whole"))
    train(whole)
    stopped = fields(steps=5)

    def stop(report):
        if report.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video_trainer(recipe(stopped)).run(stop)
    train(stopped)
    assert rows(Path(stopped["out"])) == rows(Path(whole["out"]))


def loss(step: int, source: str = "a", error: float = 1.0, window: int = 0, task: str = "fine") -> WindowLoss:
    return WindowLoss(step, source, task, "1x2", window, window / 2, (window + 1) / 2, 3, error)


def test_sources_are_ranked_by_their_last_step(tmp_path):
    assert source_means(read_losses(tmp_path)) == {}
    write_losses(tmp_path, 1, [loss(1, "a", 0.1), loss(1, "b", 0.9)])
    write_losses(tmp_path, 2, [loss(2, "a", 0.8), loss(2, "a", 0.4, window=1), loss(2, "b", 0.5), loss(2, "c", 0.7)])
    assert list(source_means(read_losses(tmp_path)).items()) == [
        ("b", 0.5), ("a", pytest.approx(0.6)), ("c", 0.7),
    ]  # fmt: skip


def test_the_plot_has_a_line_for_each_source_and_task_of_the_last_step(tmp_path, monkeypatch):
    axes = pytest.importorskip("matplotlib.axes", reason="matplotlib draws the plot")
    write_losses(tmp_path, 1, [loss(1, "old", 5.0)])
    write_losses(tmp_path, 2, [loss(2, "a", 0.5), loss(2, "a", 0.3, window=1), loss(2, "b", 0.7, task="coarse")])
    drawn, real = {}, axes.Axes.plot

    def plot(self, x, y, **options):
        drawn[options["label"]] = (list(x), list(y))
        return real(self, x, y, **options)

    monkeypatch.setattr(axes.Axes, "plot", plot)
    picture = plot_losses(tmp_path)
    assert drawn == {"a, fine": ([0.25, 0.75], [0.5, 0.3]), "b, coarse": ([0.25], [0.7])}
    with Image.open(picture) as image:
        assert image.format == "PNG" and min(image.size) > 300 and len(image.convert("L").getcolors()) > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["losses.png", FILE]


def test_a_plot_of_nothing_and_a_plot_without_matplotlib_are_one_sentence(tmp_path, monkeypatch):
    with refused("validation", "missing", str(tmp_path)):
        plot_losses(tmp_path)
    write_losses(tmp_path, 1, [loss(1)])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with refused("matplotlib", "missing"):
        plot_losses(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_samples_are_what_the_averaged_weights_make(fields, tiny_set, tmp_path):
    setup = fields(steps=3, validation=None, vae=str(tiny_set.vae), samples=SAMPLES)
    train(setup)
    files = sorted((Path(setup["out"]) / "samples").iterdir())
    assert [file.name for file in files] == [
        "step-0000002-1.mp4", "step-0000002-2.mp4", "step-0000003-1.mp4", "step-0000003-2.mp4",
    ]  # fmt: skip
    encoder, vae = load_text_encoder(tiny_set.text), load_video_vae(tiny_set.vae)
    noise = seeded_noise((1, CHANNELS, 2, 4, 8), 6, torch.device("cpu"), torch.float32)
    texts = [encoder.encode([prompt]) for prompt in (*PROMPTS, "")]
    texts = [(text.features, text.mask) for text in texts]

    def shown(weights: str, text) -> torch.Tensor:
        """Frames after the same loss in the file."""
        network = load_video_model(Path(setup["out"]) / "step-0000003" / weights)
        latents = sample(network, noise, SamplingPlan(**SAMPLES["plan"]), text, texts[-1])
        write_video(tmp_path / "wanted.mp4", [vae.decode(latents)], 5, {})
        return frames(tmp_path / "wanted.mp4")

    def frames(file: Path) -> torch.Tensor:
        return read_frames(file, [frame / 5 for frame in range(8)])

    for file, prompt, text in zip(files[2:], PROMPTS, texts, strict=False):
        about = probe(file)
        assert (about.width, about.height, about.fps, about.seconds) == (64, 32, 5, pytest.approx(1.6))
        assert read_metadata(file)["prompt"] == prompt
        assert float((frames(file) - shown("ema.safetensors", text)).abs().mean()) < 1e-3
        assert float((frames(file) - shown("weights.safetensors", text)).abs().mean()) > 1e-2


def test_samples_of_one_frame_are_pictures(fields, tiny_set):
    pictures = SAMPLES | {"frames": 1, "plan": {"patch": "1x2", "points": 3}, "every": 9}
    setup = fields(steps=1, validation=None, vae=str(tiny_set.vae), samples=pictures)
    train(setup)
    files = sorted((Path(setup["out"]) / "samples").iterdir())
    assert [file.name for file in files] == ["step-0000001-1.png", "step-0000001-2.png"]
    with Image.open(files[0]) as image:
        assert image.size == (64, 32)


def test_without_an_average_the_weights_themselves_are_looked_at():
    network = torch.nn.Linear(2, 2).train()
    names = {parameter: name for name, parameter in network.named_parameters()}
    before = {name: parameter.detach().clone() for parameter, name in names.items()}
    with ema.applied(network, {}, names):
        assert not network.training and not torch.is_grad_enabled()
        assert all(torch.equal(parameter, before[name]) for parameter, name in names.items())
    assert network.training and torch.is_grad_enabled()
    assert all(torch.equal(parameter, before[name]) for parameter, name in names.items())
