"""The first Gemma as Lumina-Next reads it: transformers' features of padded prompts, without a system prompt."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from refusals import refused
from transformers import AutoModel, AutoTokenizer

from lumina_core.text.gemma import MAX_TOKENS, SYSTEM_PROMPT, load_text_encoder, read_text_width
from scripts.make_tiny_set import IMAGE_TEXT_FOLDER, IMAGE_TEXT_WIDTH

PROMPTS = ["a cat on the water", "", "孤舟蓑笠翁 🐔 and a fire over the sea"]


@pytest.fixture(scope="module")
def folder(tiny_set):
    return tiny_set.root / IMAGE_TEXT_FOLDER


@pytest.fixture(scope="module")
def encoder(folder):
    return load_text_encoder(folder)


def theirs(folder, prompts):
    """Features and mask as the released demo makes them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    tokens = tokenizer(
        prompts, padding=True, pad_to_multiple_of=8, max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        out = model(**tokens, output_hidden_states=True)
    return out.hidden_states[-2], tokens["attention_mask"].bool()


@pytest.mark.parametrize("prompts", [PROMPTS, ["a dog at the sea and " * 90]], ids=["unequal", "cut"])
def test_features_are_those_of_the_released_demo(folder, encoder, prompts):
    features, mask = theirs(folder, prompts)
    found = encoder.encode(prompts)
    length = found.features.shape[1]
    assert torch.equal(mask[:, :length], found.mask) and not mask[:, length:].any(), "what is left are pads to 8"
    assert torch.allclose(found.features[found.mask], features[:, :length][found.mask], atol=1e-5)
    assert float(features.std()) > 0.1 and found.features.shape[2] == IMAGE_TEXT_WIDTH


def test_prompts_stand_alone(encoder):
    ids = encoder.tokenize(PROMPTS)
    assert ids == encoder.token_ids(PROMPTS)
    assert encoder.system_prompt == "" and ids[1] == [encoder.tokenizer.bos_token_id], "BOS, and no EOS"
    assert all(SYSTEM_PROMPT not in encoder.tokenizer.decode(row) for row in ids)


def test_width_comes_from_the_config(folder, tmp_path):
    assert read_text_width(folder) == IMAGE_TEXT_WIDTH
    shutil.copytree(folder, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "model_type": "gemma3"}))
    with refused("text_encoder", "mismatch", "'gemma'", "google/gemma-2b"):
        read_text_width(tmp_path / "other")
