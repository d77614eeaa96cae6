"""The bundle that comes along: whole, small, and doing what it is asked."""

import re

import pytest
from video_frames import read_frames

from lumina_core.audio.codec_loader import load_audio_codec
from lumina_core.checkpoints.audio import read_audio_config
from lumina_core.checkpoints.video import read_video_config
from lumina_core.cli import main
from lumina_core.pipelines.audio import LuminaAudioPipeline
from lumina_core.pipelines.bundle import DESCRIPTION, SHIPPED, bundled, find_bundle
from lumina_core.text.gemma import read_text_width
from lumina_core.vae.latent_preview import preview_factors
from lumina_core.vae.loader import read_vae_channels

REAL = pytest.mark.skipif(
    not (SHIPPED / "mini" / DESCRIPTION).is_file(),
    reason="lumina_core/bundles/mini is not there: what it draws is unchecked",
)


@REAL
def test_the_shipped_bundle_is_whole():
    bundle = find_bundle("mini")
    config = read_video_config(bundle.checkpoint)
    assert config.channels == read_vae_channels(bundle.vae)
    # One row more than channels: the color of zeros.
    assert len(preview_factors(config)) == config.channels + 1
    assert config.text_dim == read_text_width(bundle.text_encoder)
    assert _megabytes(bundle.folder) - _megabytes(bundle.audio) <= 30 and (bundle.folder / "README.md").is_file()


@REAL
@pytest.mark.skipif(
    SHIPPED.exists() and "mini" in bundled() and find_bundle("mini").audio is None,
    reason="lumina_core/bundles/mini has no voice: its parts are unchecked",
)
def test_the_shipped_voice_is_whole():
    bundle = find_bundle("mini")
    LuminaAudioPipeline.from_bundle(bundle.name)
    assert load_audio_codec(bundle.audio / "codec").channels == read_audio_config(bundle.audio).channels
    assert _megabytes(bundle.audio) <= 30
    assert "sound/" in (bundle.folder / "README.md").read_text(encoding="utf-8")


def _megabytes(folder):
    """Of all files in a folder; 0 for none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20 if folder else 0


@pytest.mark.slow
@REAL
def test_the_shipped_bundle_follows_prompt_and_motion(tmp_path, capsys):
    scores, means = [], []
    for name, motion in (("red", "0.5"), ("blue", "6")):
        out = tmp_path / f"{name}.mp4"
        prompt = f"A {name} circle moves to the right on a black background."
        assert main(["demo", "--prompt", prompt, "--motion", motion, "--out", str(out), "--scale", "1"]) == 0
        scores.append(float(re.search(r"motion score ([\d.]+)", capsys.readouterr().out)[1]))
        means.append(read_frames(out, [1.0])[0].mean(dim=(0, 1)))
    assert scores[1] > 2 * scores[0], "more motion was asked for, and none came"
    assert means[0][0] > means[0][2] and means[1][2] > means[1][0], "red is not red, or blue not blue"
