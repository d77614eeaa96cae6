"""Training of the mini voice's codec, in small."""

import json
import random

import pytest
import torch

from lumina_core.audio.codec_loader import load_audio_codec, read_codec_channels
from lumina_core.mini.audio_codec import FIGURES, AudioCodecRecipe, train_audio_codec
from lumina_core.mini.audio_world import random_audio_scene, synthesize


@pytest.mark.slow
def test_a_short_training_lowers_the_error_and_gives_a_codec(tmp_path):
    losses = []
    recipe = AudioCodecRecipe(
        out=tmp_path / "codec",
        widths=(8, 8, 16),
        groups=4,
        steps=30,
        batch=2,
        frames=32,
        learning_rate=5e-3,
        seed=3,
        measured=3,
    )
    figures = train_audio_codec(recipe, lambda step, loss: losses.append(loss))
    assert len(losses) == 30 and sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert json.loads((recipe.out / FIGURES).read_text()) == figures
    assert read_codec_channels(recipe.out) == 4
    codec = load_audio_codec(recipe.out)
    rng = random.Random(9)
    sounds = torch.stack([synthesize(random_audio_scene(rng)) for _ in range(3)])
    latents = codec.encode(sounds)
    assert latents.shape == (3, 4, 100, 16) and 0.7 < float(latents.std()) < 1.4
    assert codec.to_waveform(latents, 64000).shape == (3, 64000)


def test_a_recipe_is_the_same_again(tmp_path):
    found = []
    for name in ("one", "two"):
        recipe = AudioCodecRecipe(
            out=tmp_path / name, widths=(8, 8, 16), groups=4, steps=3, batch=2, frames=16, measured=1
        )
        train_audio_codec(recipe)
        found.append(load_audio_codec(recipe.out).state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
