"""LoRA: what training saves, and what applying it to a checkpoint gives."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from refusals import refused
from safetensors.torch import load_file, save_file
from train_case import CHANNELS, case, recipe, state, train

from lumina_core import LuminaError, PatchSize, load_video_model
from lumina_core.checkpoints.lora import LoraChoice, apply_lora, check_lora
from lumina_core.checkpoints.video import read_video_config
from lumina_core.cli import main
from lumina_core.cli.generate import lora_choice
from lumina_core.media.writer import read_metadata
from lumina_core.train.recipe import LORA_LAYERS
from lumina_core.train.video import video_trainer

LORA = {"rank": 3, "alpha": 6.0}
KEY = "diffusion_model.layers.0.attention.wq"


@pytest.fixture
def fields(tiny_set, tmp_path):
    """fields(**changes): a recipe that trains a LoRA on the tiny checkpoint."""

    def build(**changes) -> dict:
        given = {"network": None, "start_from": str(tiny_set.model), "lora": LORA, **changes}
        return case(tiny_set, tmp_path, **given)

    return build


@pytest.fixture(scope="module")
def trained(tiny_set, tmp_path_factory):
    """A LoRA after 4 steps: its trainer and its last state's folder."""
    fields = case(tiny_set, tmp_path_factory.mktemp("lora"), network=None, start_from=str(tiny_set.model), lora=LORA)
    return train(fields), Path(fields["out"]) / "step-0000004"


@pytest.fixture
def lora_file(trained, tmp_path):
    """lora_file(**changes): the trained file, keys replaced, or taken out with None."""

    def write(**changes) -> Path:
        weights = load_file(trained[1] / "lora.safetensors") | {f"{KEY}.{key}": v for key, v in changes.items()}
        save_file({key: value for key, value in weights.items() if value is not None}, tmp_path / "l.safetensors")
        return tmp_path / "l.safetensors"

    return write


@torch.no_grad()
def velocity(network) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(8)
    x = torch.randn(2, CHANNELS, 2, 4, 8, generator=numbers)
    text = torch.randn(2, 5, network.config.text_dim, generator=numbers)
    return network.eval()(x, torch.tensor([0.2, 0.7]), text, None, torch.tensor([1.0, -1.0]), PatchSize(1, 2))


def refusal(action, *arguments) -> str:
    with pytest.raises(LuminaError) as caught:
        action(*arguments)
    text = str(caught.value)
    assert "\n" not in text and re.search(r"; .+\.$", text), text
    return text


def test_it_starts_as_the_checkpoint_itself(tiny_set, fields):
    trainer = video_trainer(recipe(fields()))
    started, plain = velocity(trainer.model.module), velocity(load_video_model(tiny_set.model))
    # Equal but for rounding: torch attends by another kernel where gradients are asked for.
    assert torch.allclose(started, plain, rtol=0, atol=1e-5 * float(plain.square().mean().sqrt()))


def test_only_additions_are_trained_and_saved(tiny_set, trained):
    trainer, folder = trained
    assert {file.name for file in folder.iterdir()} == {
        "lora.safetensors", "lora-ema.safetensors", "optimizer.safetensors", "state.json",
    }  # fmt: skip
    base = load_video_model(tiny_set.model).state_dict()
    held = trainer.model.module.state_dict()
    assert all(torch.equal(held[name], value) for name, value in base.items())
    layers = [
        f"diffusion_model.layers.{block}.{part}.{name}"
        for block in range(trainer.model.config.layers)
        for part, names in (("attention", LORA_LAYERS[:6]), ("feed_forward", LORA_LAYERS[6:]))
        for name in names
    ]
    wanted = {f"{layer}.{end}" for layer in layers for end in ("lora_A.weight", "lora_B.weight", "alpha")}
    for file in ("lora.safetensors", "lora-ema.safetensors"):
        weights = load_file(folder / file)
        assert weights.keys() == wanted
        assert float(weights[f"{KEY}.alpha"]) == 6 and weights[f"{KEY}.lora_A.weight"].shape[0] == 3
        assert all(value.any() for value in weights.values()), "an addition was not trained"


def test_applied_it_is_the_network_in_training(tiny_set, trained):
    trainer, folder = trained
    base, model = load_video_model(tiny_set.model), load_video_model(tiny_set.model)
    apply_lora(model, folder / "lora.safetensors")
    wanted = velocity(trainer.model.module)
    assert float((velocity(model) - wanted).abs().max()) < 1e-5
    assert float((velocity(base) - wanted).abs().max()) > 1e-2


def test_strength(tiny_set, trained):
    folder = trained[1]
    base = load_video_model(tiny_set.model)

    def change(strength: float) -> torch.Tensor:
        model = load_video_model(tiny_set.model)
        apply_lora(model, folder / "lora.safetensors", strength)
        return model.layers[1].feed_forward.w2.weight - base.layers[1].feed_forward.w2.weight

    parts = load_file(folder / "lora.safetensors")
    up, down = (parts[f"diffusion_model.layers.1.feed_forward.w2.lora_{half}.weight"] for half in "BA")
    assert torch.allclose(change(1.0), 6 / 3 * up @ down, atol=1e-6)
    assert torch.allclose(change(-0.5), -up @ down, atol=1e-6)
    assert torch.equal(change(0.0), torch.zeros_like(change(1.0)))


def test_alpha_left_out_is_the_rank(tiny_set, lora_file):
    file = lora_file(alpha=None)
    base, model = load_video_model(tiny_set.model), load_video_model(tiny_set.model)
    apply_lora(model, file)
    parts = load_file(file)
    change = model.layers[0].attention.wq.weight - base.layers[0].attention.wq.weight
    assert torch.allclose(change, parts[f"{KEY}.lora_B.weight"] @ parts[f"{KEY}.lora_A.weight"], atol=1e-6)


def test_bf16_weights_are_rounded_once(tiny_set, trained):
    exact, model = load_video_model(tiny_set.model), load_video_model(tiny_set.model, dtype=torch.bfloat16)
    start = model.layers[0].attention.wq.weight.float()
    delta = -exact.layers[0].attention.wq.weight
    for network in (exact, model):
        apply_lora(network, trained[1] / "lora.safetensors")
    delta = delta + exact.layers[0].attention.wq.weight
    assert torch.allclose(model.layers[0].attention.wq.weight.float(), start + delta, rtol=2**-8, atol=1e-6)
    assert model.layers[0].attention.wq.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("options", [{}, {"checkpointing": True, "ema": None}])
def test_resumed_run_is_the_uninterrupted_one(fields, tmp_path, options):
    whole, parts = (fields(**options, out=str(tmp_path / name)) for name in ("whole", "parts"))
    train(whole)
    train({**parts, "steps": 2})
    train(parts)
    wanted, found = state(whole, 4), state(parts, 4)
    assert wanted.keys() == found.keys()
    for file, tensors in wanted.items():
        assert tensors.keys() == found[file].keys()
        assert all(torch.equal(found[file][name], tensor) for name, tensor in tensors.items())
    logs = [list(csv.reader((Path(run["out"]) / "log.csv").open())) for run in (whole, parts)]
    assert [row[:-1] for row in logs[0]] == [row[:-1] for row in logs[1]]


def test_layers_of_the_recipe(fields):
    given = fields(steps=1, lora={**LORA, "layers": ["wv", "w2"]})
    train(given)
    keys = {key.split(".")[-3] for key in state(given, 1)["lora.safetensors"] if not key.endswith("alpha")}
    assert keys == {"wv", "w2"}


@pytest.mark.parametrize(
    ("lora", "fact"),
    [
        ({"rank": 0}, "0"),
        ({"alpha": 0}, "0"),
        ({"alpha": float("nan")}, "nan"),
        ({"layers": ["wq", "w4"]}, "'w4'"),
        ({"layers": []}, "no layers"),
    ],
)
def test_recipes_that_make_no_lora(fields, lora, fact):
    with refused(*lora, "value", fact):
        recipe(fields(lora=lora))


@pytest.mark.parametrize("lora", [{"rank": 4, "alpha": 6.0}, {"rank": 3, "alpha": 3.0}, None])
def test_another_recipe_does_not_go_on_from_its_state(fields, lora):
    train(fields(steps=1))
    with refused("out", "mismatch", "step-0000001"):
        video_trainer(recipe(fields(lora=lora)))


def test_a_lora_run_is_no_checkpoint(fields, tmp_path):
    train(fields(steps=1))
    other = recipe(fields(start_from=str(tmp_path / "run"), out=str(tmp_path / "other")))
    with refused("start_from", "value", str(tmp_path / "run")):
        video_trainer(other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora_B.weight": None}, f"lacks '{KEY}.lora_B.weight'"),
        ({"lora_A.weight": None}, f"lacks '{KEY}.lora_A.weight'"),
        ({"lora_A.weight": torch.ones(3, 63)}, "'layers.0.attention.wq' is (64, 3) times (3, 63)"),
        ({"lora_A.weight": torch.ones(2, 64)}, "(64, 3) times (2, 64)"),
        ({"alpha": torch.ones(2)}, "is not a LoRA for this checkpoint"),
        ({"dora_scale": torch.ones(64)}, f"no layer for its key '{KEY}.dora_scale'"),
        ({"lora_mid.weight": torch.ones(64)}, "no layer for its key"),
    ],
)
def test_files_that_do_not_fit(tiny_set, lora_file, changes, words):
    file = lora_file(**changes)
    model = load_video_model(tiny_set.model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert words in refusal(apply_lora, model, file)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert words in refusal(check_lora, read_video_config(tiny_set.model), LoraChoice(file))


def test_files_that_are_no_lora(tiny_set, lora_file, tmp_path):
    model = load_video_model(tiny_set.model)
    assert "does not exist" in refusal(apply_lora, model, tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    assert "cannot be read" in refusal(apply_lora, model, tmp_path / "cut.safetensors")
    (checkpoint,) = tiny_set.model.glob("*.safetensors")
    assert "no layer for its key" in refusal(apply_lora, model, checkpoint)
    save_file({}, tmp_path / "empty.safetensors")
    assert "holds no weights" in refusal(apply_lora, model, tmp_path / "empty.safetensors")
    broken = lora_file(**{"lora_A.weight": torch.full((3, 64), float("inf"))})
    assert "NaN or infinite values" in refusal(apply_lora, model, broken)
    assert "strength" in refusal(apply_lora, model, lora_file(), float("nan"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.safetensors", LoraChoice(Path("a.safetensors"))),
        ("a.safetensors:0.5", LoraChoice(Path("a.safetensors"), 0.5)),
        ("dir/a:b.safetensors:-1", LoraChoice(Path("dir/a:b.safetensors"), -1.0)),
        (r"C:\a.safetensors", LoraChoice(Path(r"C:\a.safetensors"))),
    ],
)
def test_flag(text, wanted):
    assert lora_choice(text) == wanted


@pytest.mark.slow
def test_generate_with_a_lora(tiny_set, trained, tmp_path, capsys):
    flags = [
        "generate", "--checkpoint", tiny_set.model, "--text-encoder", tiny_set.text, "--vae", tiny_set.vae,
        "--prompt", "a cat", "--width", 64, "--height", 32, "--frames", 1, "--device", "cpu", "--points", 3,
    ]  # fmt: skip
    file = trained[1] / "lora.safetensors"
    pictures = {}
    for strength in ("none", "0", "1"):
        out = tmp_path / f"{strength}.png"
        lora = [] if strength == "none" else ["--lora", f"{file}:{strength}"]
        assert main([str(flag) for flag in [*flags, "--out", out, *lora]]) == 0
        pictures[strength] = _pixels(out)
    assert torch.equal(pictures["0"], pictures["none"]) and not torch.equal(pictures["1"], pictures["none"])
    told = json.loads(read_metadata(tmp_path / "1.png")["lumina_video"])
    assert told["loras"] == [{"file": "lora.safetensors", "strength": 1.0}]
    capsys.readouterr()
    assert main([str(flag) for flag in [*flags, "--out", tmp_path / "no.png", "--lora", tiny_set.vae]]) == 2
    error = capsys.readouterr().err
    assert "does not exist; give the path of a .safetensors file." in error and "reading the" not in error


def _pixels(file: Path) -> torch.Tensor:
    import numpy
    from PIL import Image

    return torch.from_numpy(numpy.asarray(Image.open(file)).copy())
