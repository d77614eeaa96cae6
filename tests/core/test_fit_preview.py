import importlib.util
import json
from pathlib import Path

import pytest
import torch

from lumina_core.media.writer import write_image, write_video
from lumina_core.shapes.latents import LATENT_CHANNELS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fit_preview.py"


@pytest.fixture(scope="module")
def fit_preview():
    spec = importlib.util.spec_from_file_location("fit_preview", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("bias", [False, True])
def test_fit_finds_the_table_that_made_the_colours(fit_preview, random, bias):
    latents, table = random(200, LATENT_CHANNELS), random(LATENT_CHANNELS + bias, 3)
    rgb = latents @ table[:LATENT_CHANNELS] + (table[-1] if bias else 0)
    found = fit_preview.fit((latents, rgb), bias)
    torch.testing.assert_close(found.float(), table)
    assert fit_preview.r_squared((latents, rgb), found) == pytest.approx(1)


def test_colours_are_means_of_the_pixels_behind_a_latent(fit_preview, tiny_set):
    vae = fit_preview.load_video_vae(tiny_set.vae)
    clip = torch.zeros(8, 16, 24, 3)
    clip[4:, 8:, :8, 1] = 1.0
    latents, rgb = fit_preview.pixel_pairs(vae, clip)
    expected = torch.full((2, 2, 3, 3), -1.0)
    expected[1, 1, 0, 1] = 1.0
    assert torch.equal(rgb, expected.flatten(0, 2))
    encoded = vae.encode(clip)
    assert torch.equal(latents.reshape(2, 2, 3, LATENT_CHANNELS)[1, 0, 2], encoded[0, :, 1, 0, 2])


def test_synthetic_run_ends_in_json(fit_preview, tiny_set, capsys):
    fit_preview.main(["--vae", str(tiny_set.vae), "--synthetic", "4", "--size", "32", "--frames", "8"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["fit_preview"]
    assert (figures["clips"], figures["pixels_fitted"], figures["pixels_tested"]) == (4, 3 * 32, 32)
    assert figures["held_out"]
    assert set(figures["r2"]) == {"current", "fitted", "with_bias"}
    assert len(figures["factors"]) == LATENT_CHANNELS


def test_media_are_read_in_lengths_that_the_vae_takes(fit_preview, tmp_path, random):
    write_video(tmp_path / "clip.mp4", random(13, 36, 64, 3).sigmoid(), 8)
    write_image(tmp_path / "picture.png", torch.full((20, 20, 3), 0.25))
    (tmp_path / "notes.txt").write_text("no picture")
    clips = list(fit_preview.media_clips(tmp_path, frames=16, size=32))
    assert [tuple(clip.shape) for clip in clips] == [(8, 16, 32, 3), (1, 16, 16, 3)]
    assert clips[1].sub(64 / 255).abs().max() < 1e-3


def test_folder_without_media_is_refused(fit_preview, tmp_path):
    with pytest.raises(SystemExit, match="no video or picture"):
        next(fit_preview.media_clips(tmp_path, 8, 32))
