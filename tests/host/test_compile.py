"""Compiled blocks in the host: the same latents, few graphs, LoRAs count, eager with one sentence where it fails."""

import json

import pytest
from graphs import Graph, sampler_node
from reference import distance, run_saved

from lumina_core import SamplingPlan
from scripts.make_tiny_set import MODEL_FOLDER

WEIGHTS = f"{MODEL_FOLDER}/consolidated.00-of-01.safetensors"
PLAN = SamplingPlan(
    patch="2x4 | 0.3: 2x2 | 0.7: 1x2", guidance="3 | 0.5: 0", motion=6, negative_motion="2 | 0.35: 6", points=9
)
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def report(worker, tiny_models) -> dict:
    return worker("compile.py", tiny_models / WEIGHTS, json.dumps(PLAN.as_dict()))


def test_latents_are_those_without(report):
    assert report["error"] <= TOLERANCE and report["again"] <= TOLERANCE


def test_a_run_of_three_patch_sizes_makes_two_graphs_at_most_and_the_next_run_none(report):
    first, after = report["graphs"]
    # One where the host runs prompt and negative prompt apart, one more where it batches them.
    assert 1 <= first <= 2 and after == first


def test_a_lora_behind_the_node_counts(report):
    assert report["lora"]["error"] <= TOLERANCE < 0.01 <= report["lora"]["change"]


def test_the_model_itself_stays_as_it_was(report):
    assert report["keys_kept"]
    assert set(report["left_behind"]) == {"NextDiTBlock"}


def test_a_second_node_replaces_the_first(report):
    assert report["replaced"] == 2, "ours and the host's own wrapper, once each"


def test_a_failure_to_compile_is_one_sentence(report):
    (sentence,) = report["failure"]["said"]
    assert sentence.startswith("The blocks run eager from here on: torch.compile failed (")
    assert "no luck today" in sentence
    assert report["failure"]["error"] == 0


def test_a_missing_compiler_is_one_line_and_the_model_goes_through(report):
    assert report["missing"] == {
        "same": True,
        "said": [
            "Lumina-Video Compile: The blocks run eager: torch.compile lacks a C++ compiler (g++ or clang++).",
        ],
    }


def test_another_kind_of_model_is_refused(report):
    assert "connect the MODEL of Load Lumina-Video Model" in report["refused"]


@pytest.mark.slow
def test_machine_code_through_the_queue(server):
    latents = []
    for compiled in (False, True):
        graph = Graph()
        model = graph.model()
        model = graph.ours("Compile", model=model[0]) if compiled else model
        latents.append(run_saved(server, graph, sampler_node(graph, model=model[0], points=7)[0]))
    assert distance(*latents) <= TOLERANCE
    assert "run eager" not in server.log
