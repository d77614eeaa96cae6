import json
import shutil

import pytest
import torch
from refusals import refused

from lumina_core.text.gemma import MAX_TOKENS, SYSTEM_PROMPT, load_text_encoder, with_system_prompt

PROMPTS = ["A cat in the sea", "", "日本語の猫 <x> é 🎉  two  spaces\nand a line"]


@pytest.fixture(scope="module")
def encoder(tiny_set):
    return load_text_encoder(tiny_set.text)


@pytest.fixture(scope="module")
def reference(tiny_set):
    """The whole model as transformers builds it."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(tiny_set.text, dtype=torch.float32, attn_implementation="eager").eval()


def test_system_prompt_is_the_released_one():
    assert with_system_prompt("x") == SYSTEM_PROMPT + "x"
    assert SYSTEM_PROMPT.endswith("user prompts. <Prompt Start> ")


def test_features_are_the_second_last_hidden_state(encoder, reference):
    found = encoder.encode(PROMPTS)
    ids = [encoder.tokenizer(with_system_prompt(prompt))["input_ids"] for prompt in PROMPTS]
    assert found.features.shape == (3, max(map(len, ids)), encoder.width) and encoder.width == 48
    assert found.mask.sum(1).tolist() == [len(row) for row in ids] and found.truncated == [0, 0, 0]
    for row, features, mask in zip(ids, found.features, found.mask, strict=True):
        with torch.no_grad():
            wanted = reference(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states[-2][0]
        assert mask[: len(row)].all() and not mask[len(row) :].any()  # padded on the right
        torch.testing.assert_close(features[mask], wanted, rtol=1e-5, atol=1e-5)


def test_stopping_early_changes_no_bit(encoder, reference):
    ids = torch.tensor([encoder.tokenize(["A cat"])[0]])
    with torch.no_grad():
        wanted = reference(input_ids=ids, output_hidden_states=True)
    assert torch.equal(encoder.encode(["A cat"]).features, wanted.hidden_states[-2])
    assert not torch.allclose(wanted.hidden_states[-2], wanted.hidden_states[-1], atol=0.1)
    assert len(encoder.model.layers) == len(reference.layers) - 1


def test_soft_cap_is_honoured(tiny_set, encoder):
    """The tiny cap below must change the result: an attention kernel without soft cap would not notice."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(tiny_set.text)
    assert config.attn_logit_softcapping == 50
    config.attn_logit_softcapping = 0.1
    capped = AutoModel.from_pretrained(tiny_set.text, config=config, dtype=torch.float32, attn_implementation="eager")
    ids = torch.tensor([encoder.tokenize(["A cat"])[0]])
    with torch.no_grad():
        other = capped.eval()(input_ids=ids, output_hidden_states=True).hidden_states[-2]
    assert (encoder.encode(["A cat"]).features - other).abs().max() > 1e-2
    assert encoder.model.config._attn_implementation == "eager"


def test_bos_comes_first_even_if_the_tokenizer_leaves_it_out(encoder, monkeypatch):
    with_bos = encoder.tokenize(PROMPTS)
    assert all(row[0] == encoder.tokenizer.bos_token_id == 2 and row.count(2) == 1 for row in with_bos)
    plain = encoder.tokenizer

    class NoBos:
        bos_token_id = 2

        def __call__(self, texts):
            return plain(texts, add_special_tokens=False)

    monkeypatch.setattr(encoder, "tokenizer", NoBos())
    assert encoder.tokenize(PROMPTS) == with_bos


def test_every_language_survives_the_tokenizer(encoder):
    for prompt, row in zip(PROMPTS, encoder.tokenize(PROMPTS), strict=True):
        assert encoder.tokenizer.decode(row, skip_special_tokens=True) == with_system_prompt(prompt)


def test_length_counts_bos_and_system_prompt(encoder):
    used = len(encoder.tokenize([""])[0])
    fits, long = "!" * (MAX_TOKENS - used), "!" * (MAX_TOKENS - used + 7)
    found = encoder.encode([fits, long, ""])
    assert found.features.shape[1] == MAX_TOKENS
    assert found.mask.sum(1).tolist() == [MAX_TOKENS, MAX_TOKENS, used]
    assert found.truncated == [0, 7, 0]
    assert torch.equal(found.features[0], found.features[1])
    # The rule of the released code: the tokenizer's own truncation.
    own = encoder.tokenizer(with_system_prompt(long), truncation=True, max_length=MAX_TOKENS)["input_ids"]
    assert own == encoder.tokenize([long])[0][:MAX_TOKENS]


def test_prompts_do_not_influence_each_other(encoder):
    together = encoder.encode(["A cat in the water and a bird", ""])
    alone = encoder.encode([""])
    torch.testing.assert_close(together.features[1][together.mask[1]], alone.features[0], rtol=1e-5, atol=1e-5)


def test_dtype(tiny_set, encoder):
    half = load_text_encoder(tiny_set.text, dtype=torch.bfloat16).encode(["A cat"]).features
    full = encoder.encode(["A cat"]).features
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).norm() / full.norm() < 0.05


@pytest.mark.parametrize("prompts", ["A cat", [], ["A cat", None]])
def test_bad_prompts(encoder, prompts):
    with refused("prompts"):
        encoder.encode(prompts)


def test_values_that_are_not_finite_are_told(tiny_set):
    broken = load_text_encoder(tiny_set.text)
    broken.model.layers[0].mlp.down_proj.weight.data.fill_(float("nan"))
    with refused("text_encoder", "numerics", "float32"):
        broken.encode(["A cat"])


@pytest.fixture
def copy(tiny_set, tmp_path):
    return shutil.copytree(tiny_set.text, tmp_path / "gemma")


def test_bad_folders(copy, tmp_path):
    with refused("text_encoder", "missing"):
        load_text_encoder(tmp_path / "nothing")
    with refused("text_encoder", "missing"):
        load_text_encoder(copy / "config.json")
    with refused("text_encoder", "missing", "config.json"):
        load_text_encoder(tmp_path)


def test_another_model(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with refused("text_encoder", "mismatch", "'bert'", "'gemma2'"):
        load_text_encoder(copy)
    (copy / "config.json").write_text("{")
    with refused("text_encoder", "file"):
        load_text_encoder(copy)


def test_missing_files(copy):
    (copy / "tokenizer.json").rename(copy / "kept.txt")
    with refused("text_encoder", "missing", "tokenizer.json"):
        load_text_encoder(copy)
    (copy / "kept.txt").rename(copy / "tokenizer.json")
    (copy / "model.safetensors").unlink()
    with refused("text_encoder", "missing"):
        load_text_encoder(copy)


def test_broken_files(copy):
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:1000])
    with refused("text_encoder", "file"):
        load_text_encoder(copy)
    (copy / "tokenizer.json").write_text("{")
    with refused("text_encoder", "file"):
        load_text_encoder(copy)


def test_missing_weights_are_told_not_invented(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with refused("text_encoder", "file", "layers.1.mlp.up_proj.weight"):
        load_text_encoder(copy)
