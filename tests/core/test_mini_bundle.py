"""The shipped mini recipes, made small, from nothing to a bundle that makes a clip."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import torch
import yaml
from refusals import refused

from lumina_core.checkpoints.video import LATENT_RGB, VIDEO_METADATA_KEY, load_video_model
from lumina_core.cli import main
from lumina_core.mini.bundling import BundleRecipe, fit_latent_rgb, write_bundle
from lumina_core.pipelines.bundle import find_bundle
from lumina_core.runtime.tensor_files import read_safetensors
from lumina_core.text.gemma import load_text_encoder
from lumina_core.train.shards import Entry, read_index
from lumina_core.train.state import EMA, WEIGHTS, newest_state
from lumina_core.vae.loader import load_video_vae

RECIPES = Path(__file__).parents[2] / "recipes" / "mini"
# The shipped warm-up and average would leave so short a run at its beginning.
QUICK = {"steps": 2, "optimizer": {"learning_rate": 1.0e-2}, "ema": {"decay": 0.5, "every": 1}}
SMALLER = {
    "1-autoencoder": {"wide": 16, "narrow": 8, "depth": 1, "steps": 2, "batch": 2},
    "2-text-encoder": {"width": 32, "layers": 1, "steps": 2, "batch": 4},
    "3-data": {"clips": 3, "pictures": 3, "outlines": 2, "held_out": 2},
    "4-images": QUICK
    | {
        "network": {
            "channels": 6, "dim": 64, "layers": 1, "heads": 4, "kv_heads": 2, "ffn_hidden": 80, "cond_dim": 32,
        },
    },
    "5-clips": QUICK,
    "6-bundle": {},
}  # fmt: skip


def smaller(file: Path) -> dict:
    values = yaml.safe_load(file.read_text(encoding="utf-8")) | SMALLER[file.stem]
    for task in values.get("tasks", {}).values():
        task["batch"] = 2
    return values


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lumina_core.mini.autoencoder._MEASURED_CLIPS", 2)
        patch.setattr("lumina_core.mini.bundling._FITTED_CLIPS", 2)
        yield patch


@pytest.fixture(scope="module")
def made(patched, tmp_path_factory):
    """The folder that the recipes were run in, and what the command wrote to stdout."""
    folder = tmp_path_factory.mktemp("mini")
    (folder / "recipes").mkdir()
    for file in RECIPES.glob("*.yaml"):
        (folder / "recipes" / file.name).write_text(json.dumps(smaller(file)), encoding="utf-8")
    patched.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["train", "recipes"]) == 0
    return folder, out.getvalue()


@pytest.fixture(scope="module")
def bundle(made):
    return find_bundle(str(made[0] / "lumina_core" / "bundles" / "mini"))


def test_every_recipe_is_in_the_chain():
    assert {file.stem for file in RECIPES.glob("*.yaml")} == set(SMALLER)


def test_each_stage_tells_its_result_and_the_bundle_comes_last(made):
    folder, out = made
    lines = out.splitlines()
    assert lines == [
        "runs/mini/vae", "runs/mini/text_encoder", "runs/mini/data", "runs/mini/images/step-0000002",
        "runs/mini/clips/step-0000002", "lumina_core/bundles/mini",
    ]  # fmt: skip
    assert all((folder / line).is_dir() for line in lines)


def test_the_bundle_describes_itself(made, bundle):
    told = json.loads((made[0] / "lumina_core" / "bundles" / "mini" / "bundle.json").read_text(encoding="utf-8"))
    recipe = yaml.safe_load((RECIPES / "6-bundle.yaml").read_text(encoding="utf-8"))
    for name in ("name", "about", "preset", "motion_range", "prompt"):
        assert told[name] == recipe[name]
    assert (bundle.fps, bundle.size.frames, bundle.size.width) == (8, 32, 64)


def test_the_network_is_the_average_of_the_last_state_in_bf16(made, bundle):
    weights, metadata = read_safetensors(bundle.checkpoint)
    average, _ = read_safetensors(newest_state(made[0] / "runs/mini/clips") / EMA)
    last, _ = read_safetensors(newest_state(made[0] / "runs/mini/clips") / WEIGHTS)
    assert weights.keys() == average.keys()
    assert any(not torch.equal(average[name], last[name]) for name in average)
    assert all(tensor.dtype == torch.bfloat16 for tensor in weights.values())
    assert all(torch.equal(weights[name], average[name].bfloat16()) for name in weights)
    assert len(json.loads(metadata[VIDEO_METADATA_KEY])[LATENT_RGB]) == 6 + 1
    config = load_video_model(bundle.checkpoint).config
    assert config.channels == 6 and config.train_size == bundle.size.latent()


def test_text_encoder_and_vae_are_those_of_their_stages(made, bundle):
    first, again = (load_text_encoder(path).encode(["a red star"]).features
                    for path in (made[0] / "runs/mini/text_encoder", bundle.text_encoder))  # fmt: skip
    torch.testing.assert_close(again, first, atol=0.05, rtol=0.05)
    latents = torch.randn(1, 6, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    first, again = (load_video_vae(path).decode(latents) for path in (made[0] / "runs/mini/vae", bundle.vae))
    torch.testing.assert_close(again, first, atol=0.02, rtol=0)


def test_held_out_sets_share_no_item_with_the_training_sets(made):
    folders = (made[0] / "runs/mini/data").iterdir()
    sets = {path.name: {entry.caption for entry in read_index(path, Entry)} for path in folders}
    assert set(sets) == {"pictures", "clips", "outlines", "clips-held", "outlines-held"}
    assert not sets["clips"] & sets["clips-held"] and not sets["outlines"] & sets["outlines-held"]


def test_the_bundle_makes_a_clip(made, tmp_path, capsys):
    target = tmp_path / "clip.mp4"
    flags = ["--points", "4", "--frames", "8", "--prompt", "A red star moves to the right", "--out", str(target)]
    folder = made[0] / "lumina_core" / "bundles" / "mini"
    assert main(["generate", "--bundle", str(folder), "--device", "cpu", *flags]) == 0
    out = capsys.readouterr().out
    assert target.is_file() and out.startswith("64x64, 8 frames at 8 fps") and out.endswith(f"\n{target}\n")


def test_a_second_run_finds_all_of_it_finished(made, capsys):
    folder, _ = made
    files = sorted(path for path in (folder / "runs").rglob("*.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in files}
    assert main(["train", "recipes"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if " is finished: " in line][:2] == [
        "1-autoencoder is finished: runs/mini/vae", "2-text-encoder is finished: runs/mini/text_encoder",
    ]  # fmt: skip
    assert {"4-images is finished: runs/mini/images", "5-clips is finished: runs/mini/clips"} < set(out)
    assert out[-1] == "lumina_core/bundles/mini"
    assert sorted(path for path in (folder / "runs").rglob("*.safetensors")) == files
    assert {path: path.stat().st_mtime_ns for path in files} == before


def recipe(folder: Path, **changes) -> BundleRecipe:
    runs = folder / "runs" / "mini"
    fields = {
        "out": folder / "other", "network": runs / "clips", "text_encoder": runs / "text_encoder", "vae": runs / "vae",
        "name": "other", "about": "a test", "preset": "mini-MultiScale", "motion_range": (0.0, 4.0), "prompt": "a star",
    }  # fmt: skip
    return BundleRecipe(**fields | changes)


def test_other_files_of_a_bundle_stay(made):
    target = made[0] / "kept"
    target.mkdir()
    (target / "README.md").write_text("card", encoding="utf-8")
    assert write_bundle(recipe(made[0], out=target)) == target
    assert (target / "README.md").read_text(encoding="utf-8") == "card"
    assert not list(target.rglob("*.part"))
    assert find_bundle(str(target)).name == "other"


def test_parts_of_other_channels_are_refused_before_anything_is_written(made, tiny_set):
    with refused("vae", "mismatch", "6 latent channels", "16"):
        write_bundle(recipe(made[0], vae=tiny_set.vae))
    assert not (made[0] / "other").exists()


class Linear:
    """A VAE whose latents are known mixtures of each patch's mean color, with something added."""

    mixture = torch.tensor([[0.5, 0.2, 0.0], [0.0, -1.0, 0.3], [0.4, 0.0, 2.0], [1.0, 1.0, 0.0]])
    offset = torch.tensor([0.3, -0.2, 0.1, 0.5])

    def encode(self, frames):
        means = frames.reshape(len(frames) // 4, 4, 8, 8, 8, 8, 3).mean(dim=(1, 3, 5)) * 2 - 1
        return (means @ self.mixture.T + self.offset).permute(3, 0, 1, 2)[None]


def test_preview_colors_undo_a_known_mixture(patched):
    vae = Linear()
    fitted = fit_latent_rgb(vae)
    assert fitted.shape == (5, 3)
    colors = torch.tensor([[0.1, -0.4, 0.8], [-0.9, 0.3, 0.0]])
    latents = colors @ vae.mixture.T + vae.offset
    torch.testing.assert_close(latents @ fitted[:4] + fitted[4], colors, atol=1e-3, rtol=0)
