"""Prompts in any language in a real host: the tokens of both CLIPs are those of transformers, and nothing is syntax.

The tokenizer is no Gemma's, only made as Gemma's is: see tests/core/gemma_like.py.
"""

from __future__ import annotations

import json
import sys

import pytest
from graphs import NEGATIVE, Graph, sampler_node
from hosts import REPOSITORY
from test_validation import refusal

from lumina_core.text.gemma import MAX_TOKENS, SYSTEM_PROMPT, load_text_encoder

sys.path.append(str(REPOSITORY / "tests" / "core"))

from gemma_like import TEXTS, write_text_encoder  # noqa: E402 - found through the line above

LONG = {"long": "🎉 풍선 " * 60, "long line": "风筝" * 3000}
CLIPS = ("loader", "native")
each_clip = pytest.mark.parametrize("clip", CLIPS)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("languages") / "models"
    write_text_encoder(folder / "text_encoders" / "gemma-like")
    return folder


@pytest.fixture(scope="module")
def encoder(models):
    return load_text_encoder(models / "text_encoders" / "gemma-like")


@pytest.fixture(scope="module")
def read(worker, models):
    """What each CLIP makes of each text."""
    texts = models / "texts.json"
    texts.write_text(json.dumps(TEXTS | LONG), encoding="utf-8")
    return worker("languages.py", models, texts)


@each_clip
@pytest.mark.parametrize("name", TEXTS)
def test_tokens_and_masks_are_those_of_transformers(read, encoder, clip, name):
    found = read[clip][name]
    wanted = encoder.tokenizer(SYSTEM_PROMPT + TEXTS[name])
    assert found["ids"] == wanted["input_ids"]
    assert found["mask"] == [wanted["attention_mask"]]
    assert found["weights"] == [1.0]
    assert found["length"] == len(wanted["input_ids"]) and found["notice"] == ""
    assert found["text"] == SYSTEM_PROMPT + TEXTS[name]


@each_clip
@pytest.mark.parametrize("name", LONG)
def test_what_is_cut_is_said(read, encoder, clip, name):
    found, wanted = read[clip][name], encoder.encode([LONG[name]])
    assert found["length"] == MAX_TOKENS
    assert f"The prompt is {wanted.truncated[0]} tokens too long" in found["notice"]
    assert LONG[name].strip()[-3:] in wanted.left_out[0]
    assert wanted.left_out[0].lstrip("\ufffd").split()[0][:40] in found["notice"]


def test_the_loaders_clip_has_no_syntax_in_the_hosts_node_either(read, encoder):
    for name, text in TEXTS.items():
        assert read["loader"][name]["host_ids"] == encoder.tokenizer(text)["input_ids"], name
        assert read["loader"][name]["host_weights"] == [1.0]


def test_what_the_hosts_node_makes_of_the_hosts_clip(read, encoder):
    """CLIP Text Encode: no system prompt, and its weight syntax, which the help page warns of."""
    native = read["native"]
    assert native["english"]["host_ids"] == encoder.tokenizer(TEXTS["english"])["input_ids"]
    assert native["weights"]["host_weights"] == pytest.approx([1.0, 1.2, 1.21])
    for name in ("weights", "escaped"):
        lost = encoder.tokenizer.decode(native[name]["host_ids"], skip_special_tokens=True)
        assert len(lost) < len(TEXTS[name]), name
    assert native["long line"]["host_length"] > MAX_TOKENS, "and no limit"


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_half_a_character_is_refused_when_queued(server, field):
    graph = Graph()
    node = sampler_node(graph, **{field: "a kite \ud83d"})
    graph.save_latent(node[0])
    said = refusal(server, graph, node)
    assert field in said and "U+D83D" in said and "'a kite'" in said


def test_half_a_character_is_refused_in_text_encode(server):
    graph = Graph()
    node = graph.ours("TextEncode", clip=graph.clip()[0], text="연 \udf89")
    graph.add("ConditioningCombine", conditioning_1=node[0], conditioning_2=node[0])
    latent = graph.ours("EmptyLatent", width=64, height=64, frames=1, batch_size=1, patch="1x2")
    sampled = graph.add(
        "KSampler", model=graph.model()[0], positive=node[0], negative=node[0], latent_image=latent[0], seed=1, steps=1,
        cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    graph.save_latent(sampled[0])
    said = refusal(server, graph, node)
    assert "The text" in said and "U+DF89" in said and "'연'" in said


def test_both_prompts_that_are_cut_are_said(server):
    graph = Graph()
    node = sampler_node(graph, prompt="풍선 🎉 " * 60, negative_prompt=f"{NEGATIVE} " * 60, points=2)
    graph.save_latent(node[0])
    (said,) = server.prompt(graph.api).outputs(node.id)["text"]
    assert "The prompt is " in said and "The negative prompt is " in said and "풍선" in said
