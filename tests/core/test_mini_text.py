"""The mini text encoder: its tokenizer spells every caption, and its training reads captions back."""

import json
import random

import pytest
import torch

from lumina_core.mini.captions import LANGUAGES, caption
from lumina_core.mini.system_prompts import SYSTEM_PROMPTS
from lumina_core.mini.text_encoder import FIGURES, TextEncoderRecipe, train_text_encoder
from lumina_core.mini.tokenizer import BOS, PAD, UNKNOWN, write_tokenizer
from lumina_core.mini.world import random_scene
from lumina_core.text.gemma import MAX_TOKENS, SYSTEM_PROMPT, load_text_encoder, read_text_width


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    size = write_tokenizer(folder)
    found = AutoTokenizer.from_pretrained(folder)
    assert len(found) == size
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder, figures and losses of a short training."""
    folder, losses = tmp_path_factory.mktemp("text") / "encoder", []
    recipe = TextEncoderRecipe(out=folder, width=64, layers=1, steps=12, batch=16, learning_rate=1e-2)
    figures = train_text_encoder(recipe, lambda step, loss: losses.append((step, loss)))
    return folder, figures, losses


def captions(language: str, count: int = 150) -> list[str]:
    rng = random.Random(2)
    return [caption(random_scene(rng, still=rng.random() < 0.3), rng, language) for _ in range(count)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_go_through_the_tokenizer_and_back(tokenizer, language):
    for text in captions(language):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == BOS and UNKNOWN not in ids and PAD not in ids
        back = tokenizer.decode(ids, skip_special_tokens=True)
        assert "".join(back.split()) == "".join(text.lower().split())


def test_words_of_captions_and_system_prompts_are_one_token_each(tokenizer):
    for text in (*captions("en"), *SYSTEM_PROMPTS.values()):
        words = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text.lower())
        assert len(tokenizer(text)["input_ids"]) == 1 + len(words)


def test_every_source_leaves_room_for_its_captions(tokenizer):
    for prompt in SYSTEM_PROMPTS.values():
        assert max(len(tokenizer(prompt + text)["input_ids"]) for text in captions("en", 40)) < MAX_TOKENS // 2
    assert SYSTEM_PROMPTS["clips"] == SYSTEM_PROMPT and len(set(SYSTEM_PROMPTS.values())) == 3


def test_a_word_that_is_not_known_is_spelled(tokenizer):
    ids = tokenizer("a turquoise zeppelin 42")["input_ids"]
    assert UNKNOWN not in ids and len(ids) == 1 + 1 + len("turquoise") + len("zeppelin") + len("42")
    pieces = tokenizer.convert_ids_to_tokens(ids[1:])
    assert "".join(piece.removeprefix("##") for piece in pieces) == "aturquoisezeppelin42"


def test_capitals_do_not_matter_and_other_scripts_do_not_fail(tokenizer):
    assert tokenizer("A RED Star")["input_ids"] == tokenizer("a red star")["input_ids"]
    assert UNKNOWN in tokenizer("красная звезда 🚀")["input_ids"]
    assert tokenizer("")["input_ids"] == [BOS]


def test_training_lowers_the_loss_and_reports_every_step(trained):
    _, _, losses = trained
    assert [step for step, _ in losses] == list(range(12))
    assert losses[-1][1] < 0.7 * losses[0][1]


def test_the_figures_are_written_last(trained):
    folder, figures, _ = trained
    assert json.loads((folder / FIGURES).read_text(encoding="utf-8")) == figures
    assert set(figures) == set(LANGUAGES) and all(0 <= share <= 1 for share in figures.values())


def test_the_trained_encoder_loads_as_gemma_does(trained):
    folder, _, _ = trained
    encoder = load_text_encoder(folder)
    assert encoder.width == read_text_width(folder) == 64
    found = encoder.encode(["a red star", "", "红色的星星"])
    assert found.features.shape[::2] == (3, 64) and found.truncated == [0, 0, 0]
    # One layer is run; the one in front of which Gemma's features are taken is in the file, and never run.
    assert len(encoder.model.layers) == 1
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"] == 2


def test_training_repeats_by_its_seed(trained, tmp_path):
    def features(seed: int) -> torch.Tensor:
        folder = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
        train_text_encoder(TextEncoderRecipe(out=folder, width=32, layers=1, steps=2, batch=4, seed=seed))
        return load_text_encoder(folder).encode(["a red star"]).features

    first = features(0)
    assert torch.equal(features(0), first) and not torch.equal(features(1), first)
