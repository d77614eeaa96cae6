"""What the small world sounds like: events where the picture shows them, and sounds that tell them apart."""

import math
import random
from dataclasses import replace

import pytest
import torch

from lumina_core.mini.audio_captions import MATERIAL_WORDS, audio_caption, sound_characters, sound_words
from lumina_core.mini.audio_world import (
    BOUNCE,
    COLLISION,
    FLASH,
    MATERIAL_OF,
    MATERIALS,
    QUIET_ENDS,
    SECONDS,
    draw_audio_scene,
    events,
    random_audio_scene,
    synthesize,
)
from lumina_core.mini.captions import CHINESE, ENGLISH
from lumina_core.mini.world import combination, is_held_out


def scenes(count, held_out=False):
    rng = random.Random(3)
    return [random_audio_scene(rng, held_out=held_out) for _ in range(count)]


def test_scenes_repeat_and_keep_to_their_combinations():
    assert scenes(20) == scenes(20)
    assert not any(is_held_out(combination(scene.visual)) for scene in scenes(50))
    assert all(is_held_out(combination(scene.visual)) for scene in scenes(50, held_out=True))


def test_every_kind_of_event_and_material_occurs_away_from_the_ends():
    found = scenes(300)
    kinds = {event.kind for scene in found for event in events(scene)}
    assert kinds == {BOUNCE, COLLISION, FLASH}
    assert {scene.material for scene in found} == set(MATERIALS)
    times = [event.time for scene in found for event in events(scene)]
    assert min(times) > QUIET_ENDS and max(times) < SECONDS - QUIET_ENDS
    for scene in found:
        ordered = [event.time for event in events(scene)]
        assert ordered == sorted(ordered)


def test_shapes_turn_back_exactly_at_bounces_and_collisions():
    step = 1e-3
    for scene in scenes(60):
        turns = [event.time for event in events(scene) if event.kind != FLASH]
        for number in range(1, round(SECONDS / 0.01)):
            time = number * 0.01
            before, here, after = (torch.tensor(scene.center(time + d * step)) for d in (-1, 0, 1))
            turned = bool(((here - before) * (after - here)).sum() < -1e-9)
            assert not turned or min(abs(time - turn) for turn in turns) < 2 * step
        for turn in turns:
            before, here, after = (torch.tensor(scene.center(turn + d * step)) for d in (-1, 0, 1))
            assert float((before - after).abs().max()) < 1e-3 < float((here - before).abs().max())


def _gap(scene, time):
    return math.dist(scene.center(time), scene.second_center(time))


def test_pairs_touch_when_they_collide_and_never_overlap():
    for scene in (found for found in scenes(80) if found.pair):
        gaps = [_gap(scene, t) for t in torch.arange(0, 4, 0.01).tolist()]
        assert min(gaps) >= 2 * scene.visual.radius - 1e-3
        for event in events(scene):
            if event.kind == COLLISION:
                assert _gap(scene, event.time) == pytest.approx(2 * scene.visual.radius, abs=1e-3)


def test_pictures_of_two_rates_agree_where_they_meet():
    scene = scenes(1)[0]
    slow, fast = draw_audio_scene(scene, 8), draw_audio_scene(scene, 24)
    assert slow.shape == (32, 64, 64, 3) and fast.shape == (96, 64, 64, 3)
    assert torch.allclose(slow, fast[::3], atol=1e-5)


def test_a_flash_lights_the_background_from_its_time_on():
    scene = replace(next(scene for scene in scenes(50) if not scene.pair), flashes=(2.0,))
    dark, lit = draw_audio_scene(replace(scene, flashes=()), 10), draw_audio_scene(scene, 10)
    changed = (lit - dark).mean((1, 2, 3))
    assert changed[:20].max() == 0 and changed[20] > 0.1
    assert all(changed[k] > changed[k + 1] for k in range(20, 39))


def test_every_event_is_heard_when_it_happens_and_nothing_before():
    for scene in scenes(40):
        sound = synthesize(scene)
        assert sound.shape == (64000,) and sound.abs().max() <= 1
        for event in events(scene):
            first = round(event.time * 16000)
            before, after = sound[first - 480 : first], sound[first : first + 480]
            assert after.square().mean() > 1.5 * before.square().mean()
        quiet = synthesize(replace(scene, visual=replace(scene.visual, speed=1e-6), flashes=()))
        assert quiet.abs().max() < 1e-4


def test_speed_makes_it_louder_and_shape_changes_the_pitch():
    scene = next(s for s in scenes(100) if any(e.kind == BOUNCE for e in events(s)) and s.visual.speed < 3)
    loud = replace(scene, visual=replace(scene.visual, speed=scene.visual.speed * 1.5))
    assert events(loud)[0].loudness > events(scene)[0].loudness
    spectra = {}
    for shape in ("square", "star"):
        sound = synthesize(replace(scene, visual=replace(scene.visual, shape=shape), material="bell", flashes=()))
        spectra[shape] = torch.fft.rfft(sound).abs().argmax() * 16000 / 64000
    assert spectra["star"] / spectra["square"] == pytest.approx(740 / 262, rel=0.02)


@pytest.mark.parametrize("language", [ENGLISH, CHINESE])
def test_captions_name_the_material_only_when_it_is_asked_for(language):
    rng = random.Random(0)
    for scene in scenes(100):
        text = audio_caption(scene, rng, language)
        text = text.lower()
        words = MATERIAL_WORDS[language].items()
        named = {name for name, found in words if any(word.lower() in text for word in found)}
        assert named == ({scene.material} if scene.names_material else set())
        if not scene.names_material:
            assert scene.material == MATERIAL_OF[scene.visual.color]


def test_words_and_characters_cover_the_captions():
    from lumina_core.mini.captions import characters, words

    rng = random.Random(1)
    known, signs = {*words(), *sound_words()}, {*characters(), *sound_characters()}
    for scene in scenes(200):
        english = audio_caption(scene, rng, ENGLISH).lower().replace(",", " ").replace(".", " ")
        assert set(english.split()) <= known
        assert {c for c in audio_caption(scene, rng, CHINESE) if not c.isascii()} <= signs
