"""The drawn world: what is kept out of training, where shapes move, and captions that say what is seen."""

import random
from collections import Counter
from itertools import product

import pytest
import torch

from lumina_core.mini.captions import (
    BACKGROUND_WORDS,
    CHINESE,
    CLIP_WORDINGS,
    COLOR_WORDS,
    DIRECTION_WORDS,
    ENGLISH,
    LANGUAGES,
    SHAPE_WORDS,
    STILL_WORDINGS,
    VERB_WORDS,
    caption,
)
from lumina_core.mini.dataset import DrawnDataRecipe, drawn_samples
from lumina_core.mini.draw import draw, shape_mask
from lumina_core.mini.system_prompts import SYSTEM_PROMPTS
from lumina_core.mini.tokenizer import UNKNOWN, write_tokenizer
from lumina_core.mini.world import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    FASTEST,
    FRAMES,
    LARGEST_RADIUS,
    SHAPES,
    SIDE,
    SLOWEST,
    SMALLEST_RADIUS,
    Scene,
    combination,
    is_held_out,
    random_scene,
)

TABLES = (COLORS, SHAPES, BACKGROUNDS, DIRECTIONS)
EVERY = list(product(*TABLES))


def scenes(count: int = 400, **settings) -> list[Scene]:
    rng = random.Random(3)
    return [random_scene(rng, **settings) for _ in range(count)]


def test_a_fifth_is_held_out_and_every_pair_of_names_is_still_trained_on():
    held = [names for names in EVERY if is_held_out(names)]
    assert len(held) == len(EVERY) / 5
    trained = [names for names in EVERY if not is_held_out(names)]
    for left, right in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        pairs = {(names[left], names[right]) for names in trained}
        assert pairs == set(product(TABLES[left], TABLES[right]))


@pytest.mark.parametrize("held", [False, True])
def test_random_scenes_keep_to_their_side(held):
    found = scenes(held_out=held)
    assert {is_held_out(combination(scene)) for scene in found} == {held}
    for place, table in enumerate(TABLES):
        counts = Counter(combination(scene)[place] for scene in found)
        assert set(counts) == set(table) and max(counts.values()) < 3 * min(counts.values())
    assert all(SLOWEST <= scene.speed <= FASTEST for scene in found)
    assert all(SMALLEST_RADIUS <= scene.radius <= LARGEST_RADIUS for scene in found)


def test_still_scenes_and_outlines():
    assert {scene.speed for scene in scenes(still=True)} == {0.0}
    assert {scene.outline for scene in scenes(outline_share=0.0)} == {False}
    assert {scene.outline for scene in scenes(outline_share=1.0)} == {True}


@pytest.mark.parametrize("frames", [FRAMES, 8, 64])
def test_shapes_stay_inside_the_picture(frames):
    for scene in [*scenes(), *scenes(still=True, count=50)]:
        for frame in range(frames):
            for place in scene.position(frame, frames):
                assert scene.radius < place < SIDE - scene.radius


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("speed", [0.1, 0.6, 1.1, 2.4])
def test_the_first_move_is_the_named_one_at_the_named_speed(direction, speed):
    scene = Scene("red", "circle", "black", direction, speed, 11.0, along=0.4, across=-0.5)
    first, second = scene.position(0), scene.position(1)
    step = DIRECTIONS[direction]
    assert (second[0] - first[0], second[1] - first[1]) == pytest.approx((step[0] * speed, step[1] * speed))


def test_a_bounce_turns_at_the_room_s_end_and_keeps_its_speed():
    scene = Scene("red", "circle", "black", "right", 2.0, 12.0)
    assert scene.bounces() and scene.room == 18
    places = [scene.position(frame)[0] - SIDE / 2 for frame in range(FRAMES)]
    assert places[:3] == [-18, -16, -14]
    assert places[18] == 18 and places[17] == 16 and places[19] == 16
    assert {abs(b - a) for a, b in zip(places, places[1:], strict=False)} == {2.0}
    assert {scene.position(frame)[1] for frame in range(FRAMES)} == {SIDE / 2}


def test_a_slow_shape_goes_one_way_only():
    for scene in scenes():
        if not scene.bounces():
            step = DIRECTIONS[scene.direction]
            along = [sum(p * s for p, s in zip(scene.position(frame), step, strict=True)) for frame in range(FRAMES)]
            assert along == sorted(along)


def test_drawing_shows_the_colors_where_they_should_be():
    for scene in scenes(count=40, outline_share=0.0):
        clip = draw(scene)
        assert clip.shape == (FRAMES, SIDE, SIDE, 3) and clip.dtype == torch.float32
        assert 0 <= clip.min() and clip.max() <= 1
        for frame in (0, FRAMES - 1):
            x, y = scene.position(frame)
            color = torch.tensor(COLORS[scene.color]) / 255
            assert torch.allclose(clip[frame, round(y - 0.5), round(x - 0.5)], color, atol=1e-3)
            corners = clip[frame][[0, 0, -1, -1], [0, -1, 0, -1]]
            assert (corners - torch.tensor(BACKGROUNDS[scene.background]) / 255).abs().max() < 8 / 255


def test_an_outline_is_hollow():
    # The edges of the other two come so near to the middle that the line covers it.
    for scene in (scene for scene in scenes(count=40, outline_share=1.0) if scene.shape in ("circle", "square")):
        x, y = scene.position(0)
        middle = draw(scene)[0, round(y - 0.5), round(x - 0.5)]
        assert (middle - torch.tensor(BACKGROUNDS[scene.background]) / 255).abs().max() < 8 / 255


def test_chosen_frames_are_those_of_the_whole_clip():
    for scene in scenes(count=5):
        assert torch.equal(draw(scene)[8:12], draw(scene, FRAMES, range(8, 12)))


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_as_large_as_they_say(shape):
    axis = torch.arange(-200, 201) / 10
    inside = shape_mask(shape, 10.0, axis[None, :].expand(401, 401), axis[:, None].expand(401, 401))
    assert inside[200, 200]
    reach = float(torch.hypot(axis[None, :], axis[:, None])[inside].max())
    assert 9 < reach < 14
    assert torch.equal(inside, inside.flip(1)), "left and right are alike"


@pytest.mark.parametrize("source", ["clips", "pictures", "outlines"])
@pytest.mark.parametrize("held", [False, True])
def test_drawn_items_are_the_same_again_and_keep_to_their_side(source, held):
    first = list(drawn_samples(source, 12, 5, held))
    again = list(drawn_samples(source, 12, 5, held))
    longer = list(drawn_samples(source, 14, 5, held))[:12]
    for others in (again, longer):
        for left, right in zip(first, others, strict=True):
            assert (left.name, left.scene, left.caption) == (right.name, right.scene, right.caption)
            assert torch.equal(left.frames, right.frames)
    assert [item.scene for item in first] != [item.scene for item in drawn_samples(source, 12, 6, held)]
    assert len({item.name for item in first}) == 12
    assert {is_held_out(combination(item.scene)) for item in first} == {held}
    assert {item.scene.outline for item in first} == {source == "outlines"}
    assert {len(item.frames) for item in first} == {1 if source == "pictures" else FRAMES}
    assert {item.scene.speed == 0 for item in first} == {source == "pictures"}


def test_data_sets_are_counted_as_they_are_written(tmp_path):
    recipe = DrawnDataRecipe(out=tmp_path, vae=tmp_path, clips=5, pictures=4, outlines=3, held_out=2)
    assert sorted(recipe.sets()) == [
        ("clips", 2, True), ("clips", 5, False), ("outlines", 2, True), ("outlines", 3, False), ("pictures", 4, False),
    ]  # fmt: skip
    assert sum(recipe.counts()) == 16


def said(text: str, names: tuple[str, ...]) -> bool:
    return any(name in text for name in names)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("still", [False, True])
def test_captions_name_what_is_drawn(language, still):
    rng = random.Random(0)
    for scene in scenes(still=still):
        text = caption(scene, rng, language)
        assert said(text, COLOR_WORDS[language][scene.color])
        assert said(text, SHAPE_WORDS[language][scene.shape])
        assert said(text, BACKGROUND_WORDS[language][scene.background])
        moves = [name for name, words in DIRECTION_WORDS[language].items() if said(text, words)]
        assert scene.direction in moves if not still else not said(text, VERB_WORDS[language])
        assert text.isascii() == (language == ENGLISH) and "{" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_name_is_another_s(language):
    for table in (SHAPE_WORDS, COLOR_WORDS, BACKGROUND_WORDS, DIRECTION_WORDS):
        words = [word for entry in table[language].values() for word in set(entry)]
        assert len(words) == len(set(words))


def test_every_wording_occurs():
    rng = random.Random(0)
    for language, still in product(LANGUAGES, (False, True)):
        wordings = (STILL_WORDINGS if still else CLIP_WORDINGS)[language]
        scene = scenes(count=1, still=still)[0]
        texts = {caption(scene, rng, language) for _ in range(300)}
        assert len(texts) >= len(wordings)
        found = Counter()
        for text in texts:
            for wording in wordings:
                ends = wording[: wording.index("{")], wording[wording.rindex("}") + 1 :]
                found[wording] += text.startswith(ends[0]) and text.endswith(ends[1])
        assert set(+found) == set(wordings)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    count = write_tokenizer(folder)
    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert found.get_vocab_size() == count
    return found


def test_no_caption_has_an_unknown_token(tokenizer):
    rng = random.Random(0)
    for scene in [*scenes(), *scenes(still=True)]:
        for language in LANGUAGES:
            for system_prompt in SYSTEM_PROMPTS.values():
                ids = tokenizer.encode(system_prompt + caption(scene, rng, language)).ids
                assert UNKNOWN not in ids and len(ids) < 80


def test_words_are_one_token_each_and_others_are_spelled(tokenizer):
    assert tokenizer.encode("A red star moves to the right.", add_special_tokens=False).tokens == [
        "a", "red", "star", "moves", "to", "the", "right", ".",
    ]  # fmt: skip
    assert tokenizer.encode("cat", add_special_tokens=False).tokens == ["c", "##a", "##t"]
    text = "".join(COLOR_WORDS[CHINESE]["red"])
    assert tokenizer.encode(text, add_special_tokens=False).tokens == list(text)
    assert tokenizer.encode("a").ids[0] == 2


def test_captions_that_differ_in_a_name_differ_in_tokens(tokenizer):
    seen = {}
    for names in EVERY:
        scene = Scene(*names, speed=1.0, radius=11.0)
        for language in LANGUAGES:
            ids = tuple(tokenizer.encode(caption(scene, random.Random(0), language)).ids)
            assert seen.setdefault(ids, names) == names
