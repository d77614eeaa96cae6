"""The mini world: what is drawn lies where its scene says, and captions name what is drawn and nothing else."""

import itertools
import random
from dataclasses import replace

import pytest
import torch

from lumina_core.mini.captions import (
    BACKGROUND_WORDS,
    CHINESE,
    COLOUR_WORDS,
    DIRECTION_WORDS,
    ENGLISH,
    LANGUAGES,
    SHAPE_WORDS,
    VERB_WORDS,
    caption,
)
from lumina_core.mini.draw import draw, shape_mask
from lumina_core.mini.world import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    FASTEST,
    FRAMES,
    LARGEST_RADIUS,
    SHAPES,
    SIDE,
    SLOWEST,
    Scene,
    combination,
    held_out,
    random_scene,
)

ALL = list(itertools.product(COLOURS, SHAPES, BACKGROUNDS, DIRECTIONS))
TABLES = {"colour": COLOUR_WORDS, "shape": SHAPE_WORDS, "background": BACKGROUND_WORDS, "direction": DIRECTION_WORDS}


def scenes(count: int, **settings) -> list[Scene]:
    rng = random.Random(7)
    return [random_scene(rng, **settings) for _ in range(count)]


def test_a_fifth_of_all_combinations_is_held_out():
    held = [names for names in ALL if held_out(names)]
    assert 0.18 < len(held) / len(ALL) < 0.22
    for place in range(4):
        everywhere = {names[place] for names in ALL}
        assert {names[place] for names in held} == everywhere
        assert {names[place] for names in ALL if not held_out(names)} == everywhere


def test_every_pair_of_names_is_seen_in_training():
    for first, second in itertools.combinations(range(4), 2):
        seen = {(names[first], names[second]) for names in ALL if not held_out(names)}
        assert seen == {(names[first], names[second]) for names in ALL}


@pytest.mark.parametrize("held", [False, True])
def test_random_scenes_keep_to_their_side(held):
    found = scenes(400, held=held)
    assert {held_out(combination(scene)) for scene in found} == {held}
    assert all(SLOWEST <= scene.speed <= FASTEST for scene in found)
    slow = sum(scene.speed < (SLOWEST + FASTEST) / 2 for scene in found)
    assert abs(slow - 200) < 40


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_outlines(share):
    count = sum(scene.outline for scene in scenes(1000, outline_share=share))
    assert abs(count - 1000 * share) <= 4 * (1000 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("frames", [FRAMES, 8, 1])
def test_shapes_stay_inside_the_picture(frames):
    for scene in scenes(200):
        for frame in range(frames):
            x, y = scene.position(frame, frames)
            assert scene.radius <= x <= SIDE - scene.radius and scene.radius <= y <= SIDE - scene.radius


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_shape_moves_as_told_at_its_speed(direction):
    step_x, step_y = DIRECTIONS[direction]
    for scene in scenes(50):
        scene = replace(scene, direction=direction)
        places = [scene.position(frame) for frame in range(FRAMES)]
        (x0, y0), (x1, y1) = places[:2]
        assert (x1 - x0, y1 - y0) == pytest.approx((step_x * scene.speed, step_y * scene.speed), abs=1e-6)
        turns = [
            (x2 - x1) * (x1 - x0) + (y2 - y1) * (y1 - y0) < 0
            for (x0, y0), (x1, y1), (x2, y2) in zip(places, places[1:], places[2:], strict=False)
        ]
        if not scene.bounces():
            assert not any(turns)


def test_a_clip_shows_its_direction_before_it_turns():
    fastest = Scene("red", "circle", "black", "right", FASTEST, LARGEST_RADIUS)
    x = [fastest.position(frame)[0] for frame in range(FRAMES)]
    turn = next(frame for frame in range(1, FRAMES) if x[frame] < x[frame - 1])
    assert fastest.bounces() and turn >= FRAMES // 3


def test_pixels_have_the_colours_of_their_scene():
    for scene in scenes(40, outline_share=0.0):
        clip = draw(scene)
        assert clip.shape == (FRAMES, SIDE, SIDE, 3) and clip.dtype == torch.float32
        assert 0 <= float(clip.min()) and float(clip.max()) <= 1
        for frame in (0, FRAMES - 1):
            x, y = (int(value) for value in scene.position(frame))
            assert (clip[frame, y, x] * 255).tolist() == pytest.approx(COLOURS[scene.colour], abs=0.5)
            corner = clip[frame, 0, 0] * 255
            assert corner.tolist() == pytest.approx(BACKGROUNDS[scene.background], abs=7.1)


def test_the_background_grows_lighter_downwards():
    clip = draw(Scene("red", "circle", "navy", "right", 0.0, 10.0), 1)[0]
    left = clip[:, 0].mean(dim=-1)
    assert bool((left[1:] > left[:-1]).all())


def test_an_outline_is_hollow():
    scene = Scene("white", "circle", "black", "right", 0.0, 12.0)
    solid, hollow = draw(scene, 1)[0], draw(replace(scene, outline=True), 1)[0]
    x, y = (int(value) for value in scene.position(0, 1))
    assert float(solid[y, x].mean()) > 0.9 and float(hollow[y, x].mean()) < 0.2
    assert float(hollow.max()) > 0.9


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_of_their_size_and_unlike_each_other(shape):
    axis = torch.arange(-20, 20) + 0.5
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    masks = {name: shape_mask(name, 12.0, x, y) for name in SHAPES}
    found = masks.pop(shape)
    assert 150 < int(found.sum()) < 600
    assert torch.equal(found, found.flip(1))
    for other in masks.values():
        assert int((found ^ other).sum()) > 0.1 * int((found | other).sum())


def test_a_part_of_a_clip_is_that_part_of_the_whole():
    scene = scenes(1)[0]
    assert torch.equal(draw(scene, FRAMES, range(8, 12)), draw(scene)[8:12])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("still", [False, True])
def test_captions_name_what_is_drawn_and_nothing_else(language, still):
    rng = random.Random(3)
    for scene in scenes(300, still=still):
        text = caption(scene, rng, language)
        for name, table in TABLES.items():
            named = any(word in text for word in table[language][getattr(scene, name)])
            assert named == (name != "direction" or not still), (name, text)
        wrong = _others(scene, text, language)
        assert not wrong, (wrong, text)
        if still:
            assert not any(word in text for word in VERB_WORDS[language])


def _others(scene: Scene, text: str, language: str) -> list[str]:
    """Names in a caption that are not of its scene; the words of what is there are taken out first, longest first."""
    for name, table in TABLES.items():
        if name == "colour":
            continue
        for word in sorted(table[language][getattr(scene, name)], key=len, reverse=True):
            text = text.replace(word, " ")
    for word in COLOUR_WORDS[language][scene.colour]:
        text = text.replace(word, " ")
    return [
        word
        for name, table in TABLES.items()
        for key, entry in table[language].items()
        if key != getattr(scene, name)
        for word in entry
        if (word in text if language == CHINESE else word in text.replace(",", " ").replace(".", " ").split())
    ]


def test_captions_come_in_several_wordings_and_repeat_by_their_generator():
    scene = Scene("red", "square", "navy", "up", 1.0, 12.0)
    for language in LANGUAGES:
        found = {caption(scene, random.Random(seed), language) for seed in range(60)}
        assert len(found) > 12
    assert caption(scene, random.Random(5)) == caption(scene, random.Random(5), ENGLISH)
