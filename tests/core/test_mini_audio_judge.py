import random as dice
from dataclasses import replace

import torch
from refusals import refused

from lumina_core.audio.griffin_lim import GriffinLimVocoder
from lumina_core.audio.mel import log_mel
from lumina_core.mini.audio_judge import UNCLEAR, judge_material
from lumina_core.mini.audio_world import FLASH, MATERIALS, events, random_audio_scene, synthesize


def scenes(count, seed=0):
    """Scenes with a stroke."""
    rng = dice.Random(seed)
    found = []
    while len(found) < count:
        scene = random_audio_scene(rng, held_out=True)
        if any(event.kind != FLASH for event in events(scene)):
            found.append(scene)
    return found


def sound_of(scene, material):
    return synthesize(replace(scene, material=material))[None]


def test_true_sounds_are_read_right():
    for scene in scenes(12):
        assert [judge_material(sound_of(scene, name), events(scene)) for name in MATERIALS] == list(MATERIALS)


def test_sounds_out_of_their_spectrogram_are_read_right():
    vocoder = GriffinLimVocoder(16)
    for scene in scenes(4, seed=1):
        for name in MATERIALS:
            blurred = vocoder(log_mel(sound_of(scene, name))[:, 0])
            assert judge_material(blurred, events(scene)) == name


def test_loudness_and_a_small_delay_change_nothing():
    for scene in scenes(3, seed=2):
        for name in MATERIALS:
            late = torch.nn.functional.pad(0.2 * sound_of(scene, name), (640, 0))
            assert judge_material(late, events(scene)) == name


def test_the_pitch_is_free():
    scene = scenes(1)[0]
    other = replace(scene, visual=replace(scene.visual, shape="star" if scene.visual.shape != "star" else "square"))
    for name in MATERIALS:
        assert judge_material(sound_of(other, name), events(scene)) == name


def test_silence_is_unclear():
    assert judge_material(torch.zeros(1, 64000), events(scenes(1)[0])) == UNCLEAR


def test_a_clip_without_strokes_is_refused():
    flash = [event for scene in scenes(30) for event in events(scene) if event.kind == FLASH][:1]
    with refused("events"):
        judge_material(torch.zeros(1, 64000), flash)
