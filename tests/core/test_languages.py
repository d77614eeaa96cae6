"""Prompts in any language reach the network as transformers reads them, whole up to the limit.

The tokenizer is no Gemma's, only made as Gemma's is: see gemma_like.py.
"""

import pytest
import sentencepiece
import torch
from gemma_like import TEXTS, write_text_encoder
from refusals import refused

from lumina_core.text.gemma import (
    MAX_TOKENS,
    SYSTEM_PROMPT,
    beginning,
    check_text,
    load_text_encoder,
    with_system_prompt,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_text_encoder(tmp_path_factory.mktemp("languages") / "gemma")


@pytest.fixture(scope="module")
def encoder(folder):
    return load_text_encoder(folder)


@pytest.fixture(scope="module")
def transformers_tokenizer(folder):
    """As the official code has it: `AutoTokenizer`, padded on the right."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    return tokenizer


@pytest.fixture(scope="module")
def pieces(folder):
    """The SentencePiece model itself, which Gemma's own code reads."""
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.mark.parametrize("name", TEXTS)
def test_tokens_are_those_of_transformers_and_of_sentencepiece(encoder, transformers_tokenizer, pieces, name):
    (row,) = encoder.tokenize([TEXTS[name]])
    text = with_system_prompt(TEXTS[name])
    assert row == transformers_tokenizer(text)["input_ids"]
    assert row == [2, *pieces.encode(text)]


@pytest.mark.parametrize("name", TEXTS)
def test_no_character_is_lost_or_changed(encoder, name):
    (row,) = encoder.tokenize([TEXTS[name]])
    assert len(row) < MAX_TOKENS and encoder.tokenizer.unk_token_id not in row
    assert encoder.decode(row) == SYSTEM_PROMPT + TEXTS[name]


def test_masks_are_those_of_transformers(encoder, transformers_tokenizer):
    prompts = [*TEXTS.values(), TEXTS["emoji"] * 40]
    found = encoder.encode(prompts)
    wanted = transformers_tokenizer(
        [with_system_prompt(prompt) for prompt in prompts],
        padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt",
    )  # fmt: skip
    assert torch.equal(found.mask, wanted["attention_mask"].bool())
    assert found.truncated[:-1] == [0] * len(TEXTS) and found.truncated[-1] > 0


def test_features_are_those_of_transformers(encoder, folder, transformers_tokenizer):
    from transformers import AutoModel

    prompts = [TEXTS[name] for name in ("english", "poem", "emoji of several code points", "korean")]
    found = encoder.encode(prompts)
    reference = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    batch = transformers_tokenizer([with_system_prompt(p) for p in prompts], padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = reference(**batch, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(found.features[found.mask], wanted[found.mask], rtol=1e-5, atol=1e-5)


def test_unicode_is_not_normalised(encoder):
    composed, apart = encoder.tokenize([TEXTS["composed"], TEXTS["taken apart"]])
    assert composed != apart
    nearly = ("caf\u00e9", "cafe\u0301"), ("\uac00", "\u1100\u1161"), ("Ａ", "A"), ("國", "国"), ("a\u00a0b", "a b")
    for one, other in nearly:
        first, second = encoder.tokenize([one, other])
        assert first != second, one


def test_characters_of_several_code_points_stay_together(encoder):
    family = "👨‍👩‍👧‍👦"
    (row,) = encoder.tokenize([family])
    assert len(family) == 7 and encoder.decode(row).removeprefix(SYSTEM_PROMPT) == family


def test_what_weight_syntax_would_take_away_is_there(encoder):
    for name, kept in (("weights", ":1.2)"), ("weights", "((very))"), ("escaped", "\\("), ("embedding", "embedding:")):
        (row,) = encoder.tokenize([TEXTS[name]])
        assert kept in encoder.decode(row)
    plain, weighted = encoder.tokenize(["a red kite", "a (red:1.2) kite"])
    assert len(weighted) > len(plain)


@pytest.mark.parametrize("sign", ["鸢", "연", "🎉", "a"])
def test_nothing_is_cut_before_the_limit(encoder, sign):
    used = len(encoder.tokenize([""])[0])
    each = len(encoder.tokenize([" " + sign])[0]) - used
    count = (MAX_TOKENS - used) // each
    text = f" {sign}" * count
    found = encoder.encode([text, text + f" {sign}" * 3])
    assert found.truncated[0] == 0 and found.left_out[0] == ""
    assert found.mask[0].sum() == len(encoder.tokenize([text])[0]) <= MAX_TOKENS
    assert MAX_TOKENS - found.mask[0].sum() < each
    assert found.truncated[1] == len(encoder.tokenize([text + f" {sign}" * 3])[0]) - MAX_TOKENS > 0
    assert sign in found.left_out[1] and found.left_out[1].count(sign) in (2, 3)


def test_very_long_lines_and_many_lines(encoder):
    line, lines = "风筝" * 20_000, "a kite\n" * 5_000
    found = encoder.encode([line, lines])
    assert found.features.shape[1] == MAX_TOKENS
    for text, cut, rest in zip((line, lines), found.truncated, found.left_out, strict=True):
        assert cut == len(encoder.tokenize([text])[0]) - MAX_TOKENS
        assert text.endswith(rest[-100:]) and len(rest) < len(text)


@pytest.mark.parametrize("text", ["\ud83d", "a kite \udf89", "한국어\udcff", "\udc80\udc81 bytes that were no UTF-8"])
def test_half_a_character_is_told(encoder, text):
    with refused("prompt"):
        encoder.encode(["fine", text])


def test_the_fault_is_found_by_what_stands_before_it():
    with refused("negative_prompt", "value", "U+D83D", "'the sea at 5'"):
        check_text("a kite over\nthe sea at 5\ud83d", "negative prompt")
    check_text("🎉 whole \U0010ffff \x00")


def test_the_beginning_of_what_was_cut():
    assert beginning("\ufffd\ufffd의 바다\nand a kite ") == "의 바다 and a kite"
    assert beginning("a kite " * 30) == "a kite " * 8 + "a ki..."
    assert beginning("") == ""
