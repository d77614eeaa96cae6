"""Training of the mini autoencoder: a few steps bring drawn clips nearer, and the written folder loads."""

import math

import pytest
import torch

from lumina_core.mini.autoencoder import AutoencoderRecipe, psnr, train_autoencoder
from lumina_core.mini.draw import draw
from lumina_core.mini.world import Scene
from lumina_core.vae.compact import CompactVAE
from lumina_core.vae.loader import load_video_vae

SMALL = {"wide": 16, "narrow": 16, "depth": 1, "batch": 4}


@pytest.fixture(autouse=True)
def few_clips(monkeypatch):
    monkeypatch.setattr("lumina_core.mini.autoencoder._MEASURED_CLIPS", 6)


def train(folder, **changes):
    losses = []
    figures = train_autoencoder(
        AutoencoderRecipe(out=folder, **SMALL | changes), lambda step, loss: losses.append((step, loss))
    )
    return figures["held_out_psnr"], losses


def test_a_few_steps_bring_clips_nearer(tmp_path):
    before, _ = train(tmp_path / "before", steps=1)
    after, losses = train(tmp_path / "after", steps=30)
    assert [step for step, _ in losses] == list(range(30))
    assert after > before + 2 and losses[-1][1] < 0.5 * losses[0][1]


def test_the_written_folder_gives_clips_of_the_reported_quality(tmp_path):
    figure, _ = train(tmp_path / "vae", steps=3, latent_channels=5)
    vae = load_video_vae(tmp_path / "vae")
    assert vae.channels == 5
    clip = draw(Scene("red", "star", "navy", "right", 1.0, 12.0))
    error = float((vae.decode(vae.encode(clip)) - clip).pow(2).mean())
    assert -10 * math.log10(error) == pytest.approx(figure, abs=8)
    latents = vae.encode(clip)
    assert latents.shape == (1, 5, 8, 8, 8) and latents.isfinite().all()


def test_training_repeats_by_its_seed(tmp_path):
    _, first = train(tmp_path / "a", steps=3)
    _, again = train(tmp_path / "b", steps=3)
    _, other = train(tmp_path / "c", steps=3, seed=1)
    assert first == again != other


@pytest.mark.parametrize("error", [0.1, 0.5])
def test_psnr_against_its_formula(error):
    class Copy(CompactVAE):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.encoder = lambda clip: (torch.cat([clip, clip], dim=1), None)
            self.decoder = lambda latents: (latents + 2 * error, None)

    clips = [torch.zeros(1, 3, 4, 8, 8), torch.zeros(1, 3, 8, 8, 8)]
    assert psnr(Copy(), iter(clips)) == pytest.approx(-20 * math.log10(error), abs=1e-4)
