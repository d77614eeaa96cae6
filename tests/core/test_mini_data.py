"""Drawn data sets: the same for one seed, clean of held-out combinations, resumable, and taken by the trainer."""

import itertools
from dataclasses import replace

import pytest
import torch

from lumina_core.media.motion_score import motion_score
from lumina_core.mini.dataset import CLIPS, OUTLINES, PICTURES, DrawnDataRecipe, drawn_samples, write_drawn_data
from lumina_core.mini.draw import draw
from lumina_core.mini.world import FPS, FRAMES, SIDE, combination, is_held_out
from lumina_core.train.shards import EncodedSet, Entry, read_index
from lumina_core.vae.loader import load_video_vae
from scripts.make_tiny_set import BUNDLE_CHANNELS, write_bundle

COUNTS = {"clips": 3, "pictures": 4, "outlines": 2, "held_out": 2}


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle")) / "vae"


@pytest.fixture(scope="module")
def data(vae, tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn") / "data"
    write_drawn_data(DrawnDataRecipe(out=out, vae=vae, seed=5, **COUNTS))
    return out


@pytest.mark.parametrize("source", [CLIPS, PICTURES, OUTLINES])
def test_items_depend_on_their_number_and_the_seed_alone(source):
    few, many = list(drawn_samples(source, 3, seed=1)), list(drawn_samples(source, 6, seed=1))
    for first, again in zip(few, many, strict=False):
        assert (first.name, first.scene, first.caption) == (again.name, again.scene, again.caption)
        assert torch.equal(first.frames, again.frames)
    other = list(drawn_samples(source, 3, seed=2))
    assert [item.scene for item in few] != [item.scene for item in other]
    assert len({item.name for item in many}) == len({item.scene for item in many}) == 6


def test_sources_look_as_their_names_say():
    for source, frames, outline in ((CLIPS, FRAMES, False), (PICTURES, 1, False), (OUTLINES, FRAMES, True)):
        for item in drawn_samples(source, 12, seed=3):
            assert item.frames.shape == (frames, SIDE, SIDE, 3)
            assert item.scene.outline == outline and (item.scene.speed == 0) == (source == PICTURES)
            assert torch.equal(item.frames, draw(item.scene, frames))


@pytest.mark.parametrize("source", [CLIPS, PICTURES, OUTLINES])
def test_training_items_show_no_held_out_combination(source):
    assert not any(is_held_out(combination(item.scene)) for item in drawn_samples(source, 100, seed=4))
    assert all(is_held_out(combination(item.scene)) for item in drawn_samples(source, 40, seed=4, held_out=True))


def test_captions_come_in_both_languages():
    found = [item.caption.isascii() for item in drawn_samples(PICTURES, 80, seed=6)]
    assert 20 < sum(found) < 60


def test_every_set_is_written_with_its_motion_and_latents(data, vae):
    assert {path.name: len(EncodedSet(path)) for path in data.iterdir()} == {
        "pictures": 4, "clips": 3, "outlines": 2, "clips-held": 2, "outlines-held": 2,
    }  # fmt: skip
    loaded = load_video_vae(vae)
    for source, held in itertools.product((CLIPS, OUTLINES), (False, True)):
        chosen = EncodedSet(data / (f"{source}-held" if held else source))
        for index, item in enumerate(drawn_samples(source, 2, seed=5, held_out=held)):
            entry = chosen.entries[index]
            assert (entry.kind, entry.caption, entry.fps) == ("video", item.caption, FPS)
            assert entry.motion == pytest.approx(motion_score(item.frames, FPS))
            assert entry.shape == (BUNDLE_CHANNELS, FRAMES // 4, SIDE // 8, SIDE // 8)
            torch.testing.assert_close(chosen.latents(index), loaded.encode(item.frames)[0].half().float())
    pictures = EncodedSet(data / PICTURES)
    assert {(entry.kind, entry.motion, entry.fps, entry.shape[1]) for entry in pictures.entries} == {
        ("image", None, None, 1)
    }


def test_motion_scores_rise_with_the_speed():
    scene = next(drawn_samples(CLIPS, 1, seed=5)).scene
    scores = [motion_score(draw(replace(scene, speed=speed), 16), FPS) for speed in (0.0, 0.3, 0.8, 1.6)]
    assert scores == sorted(scores) and scores[0] < 0.05 < scores[1]


def test_an_interrupted_run_is_continued(data, vae, tmp_path):
    out, told = tmp_path / "data", []

    def stop(name):
        told.append(name)
        if len(told) == 6:
            raise KeyboardInterrupt

    recipe = DrawnDataRecipe(out=out, vae=vae, seed=5, **COUNTS)
    with pytest.raises(KeyboardInterrupt):
        write_drawn_data(recipe, stop)
    assert {path.name: len(read_index(path, Entry)) for path in out.iterdir()} == {"pictures": 4, "clips": 2}
    told.clear()
    write_drawn_data(recipe, told.append)
    assert len(told) == sum(recipe.counts()) == 13
    for whole in data.iterdir():
        first, again = EncodedSet(whole), EncodedSet(out / whole.name)
        assert [entry.name for entry in first.entries] == [entry.name for entry in again.entries]
        for index in range(len(first)):
            assert torch.equal(first.latents(index), again.latents(index))
