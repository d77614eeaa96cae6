"""Fitting the colors of latent previews: the least squares, the colors behind a latent, and reading media."""

import argparse

import pytest
import torch

from benchmarks import fit_preview
from lumina_core.errors import LuminaError
from lumina_core.media.writer import write_image, write_video
from lumina_core.shapes.latents import LATENT_CHANNELS


def test_fit_finds_the_factors_that_made_the_colors(random):
    latents, factors = random(200, LATENT_CHANNELS), random(LATENT_CHANNELS, 3)
    rgb = latents @ factors
    found = fit_preview.fit((latents, rgb))
    torch.testing.assert_close(found.float(), factors)
    assert fit_preview.r_squared((latents, rgb), found) == pytest.approx(1)


def test_colors_are_means_of_the_pixels_of_a_latent(tiny_set):
    vae = fit_preview.load_video_vae(tiny_set.vae)
    clip = torch.zeros(8, 16, 24, 3)
    clip[4:, 8:, :8, 1] = 1.0
    latents, rgb = fit_preview.pixel_pairs(vae, clip)
    expected = torch.full((2, 2, 3, 3), -1.0)
    expected[1, 1, 0, 1] = 1.0
    assert torch.equal(rgb, expected.flatten(0, 2))
    assert torch.equal(latents.reshape(2, 2, 3, LATENT_CHANNELS)[1, 0, 2], vae.encode(clip)[0, :, 1, 0, 2])


def test_a_folder_is_read_in_lengths_that_the_vae_takes_and_fitted(tiny_set, tmp_path, random):
    write_video(tmp_path / "clip.mp4", random(13, 36, 64, 3).sigmoid(), 8)
    write_image(tmp_path / "image.png", torch.full((20, 20, 3), 0.25))
    (tmp_path / "notes.txt").write_text("no image")
    files = fit_preview.media_files(tmp_path)
    clips = [fit_preview.read_clip(file, frames=16, size=32) for file in files]
    assert [tuple(clip.shape) for clip in clips] == [(8, 16, 32, 3), (1, 16, 16, 3)]
    assert clips[1].sub(64 / 255).abs().max() < 1e-3
    given = argparse.Namespace(vae=tiny_set.vae, media=tmp_path, frames=8, size=32, device="cpu")
    found = fit_preview.measure(given)
    assert (found["clips"], found["pixels_fitted"]) == (2, 2 * 2 * 4 + 2 * 2)
    assert [row["table"] for row in found["r2"]] == ["current", "fitted"]


def test_a_folder_without_media_is_refused(tmp_path):
    with pytest.raises(LuminaError) as error:
        fit_preview.media_files(tmp_path)
    assert (error.value.field, error.value.kind) == ("media", "missing")
