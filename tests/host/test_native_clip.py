"""Gemma-2 as a native CLIP: the same features as the core, in our node and in the host's own."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file

from lumina_core.text.gemma import MAX_TOKENS, SYSTEM_PROMPT, TextEncoder, beginning, load_text_encoder

PROMPTS = {
    "short": "a cat (on a boat:1.3), embedding:sea \\(still\\)",
    "empty": "",
    "long": "a dog at the sea and " * 90,
}


@dataclass
class Run:
    got: dict[str, torch.Tensor]
    report: dict


@pytest.fixture(scope="session")
def run(worker, tiny_models, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("clip")
    (folder / "prompts.json").write_text(json.dumps(PROMPTS), encoding="utf-8")
    report = worker("clip.py", tiny_models, folder / "prompts.json", folder / "out.safetensors")
    return Run(load_file(folder / "out.safetensors"), report)


@pytest.fixture(scope="session")
def encoder(tiny_models) -> TextEncoder:
    return load_text_encoder(tiny_models / "text_encoders/gemma-2-tiny")


def close(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    return got.shape == wanted.shape and bool((got - wanted).abs().max() < 1e-5)


@pytest.mark.parametrize("name", PROMPTS)
def test_features_equal_the_core(run, encoder, name):
    wanted = encoder.encode([PROMPTS[name]])
    got = run.got[f"features_{name}"]
    assert got.dtype == torch.float32
    assert close(got, wanted.features)
    assert torch.equal(run.got[f"mask_{name}"].bool(), wanted.mask)
    assert run.report["cut"][name] == [wanted.truncated[0], wanted.left_out[0]]


@pytest.mark.parametrize("name", PROMPTS)
def test_tokenize_takes_the_text_as_it_stands(run, encoder, name):
    assert run.report["ids"][name] == encoder.token_ids([PROMPTS[name]])[0]
    assert run.report["ids"][name][0] == encoder.tokenizer.bos_token_id


def test_only_a_cut_prompt_gives_a_notice(run):
    assert run.got["features_long"].shape[1] == MAX_TOKENS
    assert run.report["notice"]["short"] == ""
    count, text = run.report["cut"]["long"]
    notice = run.report["notice"]["long"]
    assert f"{count} tokens too long" in notice and notice.endswith(f"cut off: '{beginning(text)}'.")


def test_a_clone_works_after_the_host_took_the_weights_away(run):
    assert torch.equal(run.got["clone"], run.got["features_short"])


def test_built_in_nodes_take_it(run, encoder):
    wanted, _ = encoder.encode_ids(encoder.token_ids([PROMPTS["short"]]))
    assert close(run.got["built_in"], wanted)
    assert torch.equal(run.got["layered"], run.got["built_in"]), "the layer is a fact of the weights"
    assert run.report["built_in_keys"] == ["attention_mask", "pooled_output"]
    assert run.report["concat_length"] == 2 * wanted.shape[1]


def test_host_services(run):
    assert "gemma-2-tiny" in run.report["folders"]
    assert run.report["decoded"].endswith(PROMPTS["short"])
    assert run.report["with_word_ids"] == 3
    tensors, missing = run.report["state"]
    assert tensors == missing > 0
    assert run.report["patcher"] == [True, True]


def test_faults_are_told_in_a_sentence(run):
    assert "those of l, expected gemma2" in run.report["wrong_tokens"]
    assert "'nothing-here' is not in" in run.report["missing_folder"]


def test_native_gemma_is_cut_at_the_limit(run):
    cut, length = run.report["native_cut"]
    assert length > MAX_TOKENS
    assert cut == length - MAX_TOKENS
    assert run.got["native"].shape[:2] == run.got["native_mask"].shape == (1, MAX_TOKENS)
    assert run.report["native_ids"][0] == 2, "BOS counts"


def test_native_gemma_comes_near_on_the_same_ids(run, encoder):
    wanted, _ = encoder.encode_ids([run.report["native_ids"]])
    assert close(run.got["same_ids"], wanted)
    # The host leaves out Gemma-2's soft cap on attention scores.
    difference = (run.got["native"] - wanted).norm() / wanted.norm()
    assert difference < 0.02


def test_system_prompt_is_the_core_one(run, encoder):
    ids = encoder.token_ids([SYSTEM_PROMPT])[0]
    assert run.got["features_empty"].shape[1] == len(ids)
