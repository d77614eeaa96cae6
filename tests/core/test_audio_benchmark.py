"""The audio benchmark: unseen clips, timing and materials on known audio, and a whole run on random weights."""

import argparse

import pytest
import torch

from benchmarks import audio
from benchmarks.common.audio_clips import AudioGenerator, unseen_clips, with_material
from benchmarks.common.audio_materials import asked_clips, materials
from benchmarks.common.audio_timing import timing
from lumina_core.mini.audio_world import MATERIALS
from lumina_core.mini.world import combination, is_held_out
from lumina_core.sampling.audio import AudioPlan
from scripts.make_tiny_audio import write_audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An audio folder of random weights."""
    return write_audio(tmp_path_factory.mktemp("audio"), seed=3)


@pytest.fixture(scope="module")
def clips():
    return unseen_clips(6)


def test_clips_are_unseen_have_events_and_alternate(clips):
    assert all(is_held_out(combination(clip.scene.visual)) for clip in clips)
    assert all(clip.times for clip in clips)
    assert [clip.fps for clip in clips] == [8.0, 25.0] * 3
    assert [clip.caption.isascii() for clip in clips] == [True, True, False, False, True, True]
    assert unseen_clips(6) == clips
    assert [len(clip.frames()) for clip in clips[:2]] == [32, 100]


def test_reference_audio_has_the_best_timing_and_another_clips_has_not(clips):
    waves = [clip.audio for clip in clips]
    slow, _, whole = timing(clips, waves)
    assert [row["clips"] for row in (slow, whole)] == [3, 6]
    assert whole["f1"] == slow["f1"] == 1
    assert whole["lag_ms"] < 3 and whole["control_f1"] < 0.5
    # Where all audio is that of the next clip, the control is what fits.
    moved = timing(clips, waves[1:] + waves[:1])[-1]
    assert moved["control_f1"] == 1 and moved["f1"] < 0.5


def test_late_audio_has_that_lag_and_silence_has_none(clips):
    late = [torch.nn.functional.pad(clip.audio, (640, 0))[:, : clip.audio.shape[1]] for clip in clips]
    row = timing(clips, late)[-1]
    assert (row["lag_ms"], row["offset_ms"]) == pytest.approx((40, 40), abs=3)
    assert row["f1"] > 0.9
    row = timing(clips, [torch.zeros(1, 64000)] * len(clips))[-1]
    assert (row["f1"], row["precision"], row["recall"], row["lag_ms"]) == (0, None, 0, None)


def test_each_stroke_is_asked_for_in_each_material_by_text_alone(clips):
    asked = asked_clips(clips)
    assert [clip.scene.material for clip in asked[:3]] == list(MATERIALS)
    for clip in asked:
        assert clip.scene.visual.shape not in clip.caption and clip.scene.visual.color not in clip.caption
    assert torch.equal(asked[0].frames(), asked[1].frames())
    assert not torch.equal(asked[0].audio, asked[1].audio)


class Echo:
    """In place of a model: the reference audio, or always that of one material; stores its seeds."""

    def __init__(self, material=None):
        self.material, self.seeds = material, []

    def generate(self, clips, seeds):
        self.seeds = list(seeds)
        return [(with_material(clip, self.material, "") if self.material else clip).audio for clip in clips]

    def through_codec(self, wave):
        return wave


def test_a_model_that_follows_the_text_has_every_material_and_one_that_ignores_it_a_third(clips):
    following, ignoring = Echo(), Echo("drum")
    found = materials(following, clips[:3])
    assert found["right"] == {"generated": 1, "reference": 1, "codec": 1}
    assert all(row[row["asked"]] == 1 for row in found["materials"])
    # The same noise for the three materials of a clip.
    assert following.seeds[:6] == [0, 0, 0, 1, 1, 1]
    found = materials(ignoring, clips[:3])
    assert found["right"]["generated"] == pytest.approx(1 / 3)
    assert found["materials"][0]["drum"] == 1


def test_audio_of_a_clip_depends_on_its_seed_alone(folder, clips):
    model = AudioGenerator(folder, AudioPlan(steps=1, video_guidance=0, text_guidance=0))
    waves = model.generate(clips[:2])
    assert torch.equal(model.generate([clips[1]], seeds=[1])[0], waves[1])
    assert not torch.equal(model.generate([clips[1]], seeds=[2])[0], waves[1])
    assert [wave.shape for wave in waves] == [clip.audio.shape for clip in clips[:2]]
    assert model.through_codec(clips[0].audio).shape == clips[0].audio.shape


def test_a_whole_run_on_random_weights(folder):
    found = audio.measure(argparse.Namespace(
        mini=True, audio=folder, clips=2, material_clips=1, steps=1, video_guidance=3.5, text_guidance=3.5,
    ))  # fmt: skip
    assert [row["f1"] for row in found["timing"] if row["audio"] == "reference"] == [1, 1, 1]
    assert len(found["targets"]) == 4 and len(found["materials"]) == len(MATERIALS)


def test_silence_meets_no_target():
    row = {"f1": 0.0, "control_f1": 0.0, "lag_ms": None}
    assert not any(found["met"] for found in audio.targets(row, 0.0))
