"""``generate`` saves the latents that ``LuminaVideoPipeline`` returns for the same call, bit for bit."""

from __future__ import annotations

import pytest
import torch
from generate_case import small_pipeline
from PIL import Image

from lumina_core import SamplingPlan, VideoSize
from lumina_core.cli import main
from lumina_core.media import write_image, write_video
from lumina_core.media.reader import all_frames
from lumina_core.pipelines.latent_files import load_latents

PLAN = SamplingPlan(patch="2x2 | 0.3: 1x2", guidance="2 | 0.5: 0", motion=4, points=4)
CALL = {"prompt": "a cat", "negative_prompt": "a dog", "plan": PLAN, "size": VideoSize(32, 32, 16), "seed": 7}


@pytest.fixture
def by_cli(tiny_set, tmp_path, monkeypatch):
    """``by_cli(*flags)``: the latents that ``generate`` saves with these flags."""
    monkeypatch.chdir(tmp_path)
    models = ["--checkpoint", tiny_set.model, "--text-encoder", tiny_set.text, "--vae", tiny_set.vae]
    clip = ["--width", 32, "--height", 32, "--frames", 16, "--device", "cpu"]
    texts = ["--prompt", "a cat", "--negative-prompt", "a dog"]
    # A preset of its own motion scores and renorm: every field of the plan is given.
    plan = ["--patch", "2x2 | 0.3: 1x2", "--guidance", "2 | 0.5: 0", "--motion", 4, "--negative-motion", "none"]
    plan += ["--renorm", -1, "--time-shift", 1, "--points", 4]

    def run(*flags):
        saved = ["--save-latents", "saved.safetensors", "--out", "clip.mp4"]
        assert main([str(part) for part in ["generate", *models, *clip, *texts, *plan, *flags, *saved]]) == 0
        return load_latents("saved.safetensors").latents

    return run


@pytest.fixture
def by_pipeline(tiny_set):
    """``by_pipeline(**arguments)``: the latents that the pipeline returns for such a call."""
    pipe = small_pipeline(tiny_set, keep="all")
    return lambda **arguments: pipe(**{**CALL, **arguments}, output_type="latent").latents


@pytest.fixture
def video(tmp_path):
    """The path and the frames of 24 frames at 12 fps, one gray after another."""
    grays = torch.linspace(0, 1, 24)[:, None, None, None].expand(24, 32, 32, 3)
    path = write_video(tmp_path / "given.mp4", grays, 12).path
    return path, torch.stack(list(all_frames(path)))


def test_a_prompt(by_cli, by_pipeline):
    assert torch.equal(by_cli("--seed", 7), by_pipeline())


def test_several_clips(by_cli, by_pipeline):
    assert torch.equal(by_cli("--seed", 7, "--num", 2), by_pipeline(videos_per_prompt=2))


def test_image_to_video(by_cli, by_pipeline, tmp_path):
    file = write_image(tmp_path / "first.png", torch.rand(48, 64, 3, generator=torch.Generator().manual_seed(1)))
    found = by_pipeline(image=Image.open(file), hold=0.3)
    assert torch.equal(by_cli("--seed", 7, "--image", file, "--hold", 0.3), found)
    assert not torch.equal(found, by_pipeline())


def test_continuation(by_cli, by_pipeline, video):
    path, frames = video
    assert torch.equal(by_cli("--seed", 7, "--continue", path), by_pipeline(image=frames[-8:]))


def test_video_to_video(by_cli, by_pipeline, video):
    path, frames = video
    found = by_pipeline(video=frames[:16], strength=0.6)
    assert torch.equal(by_cli("--seed", 7, "--video", path, "--strength", 0.6), found)
    assert not torch.equal(found, by_pipeline(video=frames[:16], strength=1.0))


def test_draft_and_refine(by_cli, by_pipeline):
    draft = by_pipeline(stop=1)
    assert torch.equal(by_cli("--seed", 7, "--stop", "draft"), draft)
    refined = by_cli("--latents", "saved.safetensors")
    assert torch.equal(refined, by_pipeline(latents=draft, start=1))
    assert torch.equal(refined, by_pipeline())
