"""Which words of a prompt the small model does not know, and what it says about them."""

import json

import pytest

from lumina_core.cli import main
from lumina_core.mini.captions import LANGUAGES, caption, vocabulary
from lumina_core.mini.prompts import held_out_prompts
from lumina_core.mini.world import random_scene
from lumina_core.pipelines.bundle import SHIPPED, Bundle, find_bundle, unlearned_prompt
from lumina_core.pipelines.vocabulary import Vocabulary, unlearned_words


@pytest.fixture(scope="module")
def known() -> Vocabulary:
    return Vocabulary(**{name: tuple(words) for name, words in vocabulary().items()})


def told(known: Vocabulary, text: str) -> str | None:
    return unlearned_words("mini", known, text)


def test_the_shipped_bundle_has_the_words_of_its_captions(known):
    assert find_bundle("mini").vocabulary == known
    stored = json.loads((SHIPPED / "mini" / "bundle.json").read_text(encoding="utf-8"))["vocabulary"]
    assert stored == vocabulary()


def test_it_knows_every_caption_of_its_training(known):
    import random

    rng = random.Random(0)
    for _ in range(400):
        for language in LANGUAGES:
            text = caption(random_scene(rng), rng, language)
            assert told(known, text) is None, text
    assert [told(known, prompt.text) for prompt in held_out_prompts(60)] == [None] * 60


@pytest.mark.parametrize("text, unknown", [
    ("A red ring moves up on a black background.", ["ring"]),
    ("An orange cross moves up on a black background.", ["an", "orange", "cross"]),
    ("Two objects on a white background", ["two", "objects"]),
    ("Ein roter Kreis auf blauem Grund", ["ein", "roter", "kreis", "auf", "blauem", "grund"]),
    ("a puppy in a meadow", ["puppy", "meadow"]),
    ("A GREEN STAR, GREEN STAR!", []),
    ("a dark-blue ball", []),
    ("a purple circle", []),
    ("un círculo", ["un", "círculo"]),
    ("一个橙色的圆形在黑色背景上向右移动。", ["橙色"]),
    ("一只小狗", ["只小狗"]),
    ("赤い円", ["赤", "い", "円"]),
    ("", []),
])  # fmt: skip
def test_unknown_words(known, text, unknown):
    assert known.unknown(text) == unknown
    sentence = told(known, text)
    assert (sentence is None) == (not unknown)
    assert all(f"'{word}'" in sentence for word in unknown)


def test_two_shapes_are_one_too_many(known):
    sentence = told(known, "a red circle, a blue square, black background")
    assert "one shape" in sentence and "'circle', 'square'" in sentence and "does not know" not in sentence
    assert "one shape" in told(known, "红色的圆形，蓝色的正方形")
    assert told(known, "a circle, a red circle") is None


def test_the_sentence_lists_what_it_knows(known):
    sentence = told(known, "a ring")
    for word in ("circle", "ball", "pyramid", "purple", "dark blue", "forest green", "right", "down", "Chinese"):
        assert word in sentence
    assert "to the right" not in sentence and "红色" not in sentence
    chinese = told(known, "小狗")
    assert "红色" in chinese and "向右" in chinese and "circle" not in chinese


def test_a_bundle_without_words_says_nothing():
    bundle = find_bundle("mini")
    fields = {name: getattr(bundle, name) for name in Bundle.__dataclass_fields__}
    assert unlearned_prompt(Bundle(**{**fields, "vocabulary": None}), "a ring") is None


@pytest.mark.parametrize("command", ["demo", "generate"])
def test_the_commands_say_it_on_stderr(command, out, capsys):
    flags = ["--prompt", "a red ring", "--negative-prompt", "a blur", "--points", "2", "--frames", "8"]
    flags += ["--out", str(out)]
    assert main([command, *flags, *(["--no-audio"] if command == "demo" else ["--device", "cpu"])]) == 0
    found = capsys.readouterr()
    assert "'ring' of the prompt" in found.err and "'blur' of the negative prompt" in found.err
    assert "'ring'" not in found.out.replace("a red ring", "")


def test_a_known_prompt_has_no_note(out, capsys):
    flags = ["--prompt", "a red star", "--points", "2", "--frames", "8", "--out", str(out), "--no-audio"]
    assert main(["demo", *flags]) == 0
    assert "does not know" not in capsys.readouterr().err
