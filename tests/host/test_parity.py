"""Runs through the host's /prompt equal `lumina_core.sample` on the same checkpoint, texts and noise, in float32."""

import pytest
import torch
from graphs import IMAGE, SIZE, Graph, custom_sampler, guided, preset_parts, sampler_node, sigmas
from reference import SEED, Core, distance, noise, run_saved, saved_latents

from lumina_core import PRESETS
from lumina_core.sampling.solvers import SOLVERS

TOLERANCE = 1e-4
"""The stated bound; about 3e-6 is measured."""
DRAFT_TOLERANCE = 1e-5
MULTI_SCALE = [name for name in PRESETS if name.endswith("MultiScale")]


@pytest.fixture(scope="module")
def core(tiny_models) -> Core:
    return Core(tiny_models)


@pytest.mark.parametrize("preset", PRESETS)
def test_staged_nodes_equal_the_core(server, core, preset):
    graph = Graph()
    parts = preset_parts(graph, preset)
    noise_node = graph.ours("Noise", seed=SEED)
    out = custom_sampler(graph, guided(graph, parts), sigmas(graph, parts)[0], parts.latent[0], noise_node)
    assert distance(run_saved(server, graph, out[0]), core.sample(PRESETS[preset], noise())) <= TOLERANCE


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("preset", MULTI_SCALE)
def test_all_in_one_node_equals_the_core(server, core, preset, solver):
    graph = Graph()
    found = run_saved(server, graph, sampler_node(graph, preset=preset, points=13, solver=solver)[0])
    plan = PRESETS[preset].replace(points=13, solver=solver)
    assert distance(found, core.sample(plan, noise())) <= TOLERANCE


def test_fields_of_the_all_in_one_node_replace_the_presets_own(server, core):
    fields = {"patch": "2x2 | 0.5: 1x2", "guidance": "3 | 0.1: 8 | 0.7: none", "motion": "0 | 0.2: 9",
              "negative_motion": "none | 0.3: 1.5"}  # fmt: skip
    graph = Graph()
    found = run_saved(server, graph, sampler_node(graph, points=9, **fields)[0])
    plan = PRESETS["f24F96R960-MultiScale"].replace(points=9, **fields)
    assert distance(found, core.sample(plan, noise())) <= TOLERANCE


def test_empty_prompts_are_the_system_prompt_alone(server, core):
    graph = Graph()
    found = run_saved(server, graph, sampler_node(graph, prompt="", negative_prompt="", points=7)[0])
    plan = PRESETS["f24F96R960-MultiScale"].replace(points=7)
    assert distance(found, core.sample(plan, noise(), "", "")) <= TOLERANCE


def test_image(server, core):
    graph = Graph()
    fields = {"patch": "1x2", "motion": "none", "negative_motion": "none"}
    found = run_saved(server, graph, sampler_node(graph, points=9, **IMAGE, **fields)[0])
    assert found.shape == (1, 16, 1, 8, 8)
    plan = PRESETS["f24F96R960-MultiScale"].replace(points=9, **fields)
    assert distance(found, core.sample(plan, noise(frames=1))) <= TOLERANCE


def test_no_motion_score_is_not_score_zero(server, core):
    found = {}
    for motion in ("none", "0", "-1"):
        graph = Graph()
        found[motion] = run_saved(server, graph, sampler_node(graph, points=5, motion=motion)[0])
        plan = PRESETS["f24F96R960-MultiScale"].replace(points=5, motion=motion)
        assert distance(found[motion], core.sample(plan, noise())) <= TOLERANCE
    assert distance(found["0"], found["none"]) > 0.01
    assert torch.equal(found["-1"], found["none"])


def test_builtin_and_official_noise_agree_on_the_processor(server):
    found = []
    for make in (lambda graph: graph.ours("Noise", seed=3), lambda graph: graph.add("RandomNoise", noise_seed=3)):
        graph = Graph()
        parts = preset_parts(graph, MULTI_SCALE[0], batch=2)
        out = custom_sampler(graph, guided(graph, parts), sigmas(graph, parts, 5)[0], parts.latent[0], make(graph))
        found.append(run_saved(server, graph, out[0]))
    assert torch.equal(*found)


@pytest.mark.slow
@pytest.mark.parametrize("preset", MULTI_SCALE)
def test_draft_then_refine_equals_the_uninterrupted_run(server, core, preset):
    # With all points of the preset: on a far coarser grid guidance blows round-off up to 1e-5, in the core alone too.
    drafts = 3
    graph = Graph()
    parts = preset_parts(graph, preset, batch=drafts)
    guider, times = guided(graph, parts), sigmas(graph, parts)
    halves = graph.ours("SplitSigmas", sigmas=times[0], patch=parts.preset[0])
    seed = graph.ours("Noise", seed=SEED)
    whole = graph.save_latent(custom_sampler(graph, guider, times[0], parts.latent[0], seed)[0])
    draft = custom_sampler(graph, guider, halves[0], parts.latent[0], seed)
    kept = graph.save_latent(draft[0])
    refined = []
    for index in range(drafts):
        chosen = graph.add("LatentFromBatch", samples=draft[0], batch_index=index, length=1)
        noise_node = graph.add("DisableNoise")
        refined.append(graph.save_latent(custom_sampler(graph, guider, halves[1], chosen[0], noise_node)[0]))
    result = server.prompt(graph.api)

    start = noise(batch=drafts)
    whole_run = saved_latents(result, whole.id)
    for index, node in enumerate(refined):
        found = saved_latents(result, node.id)
        assert found.shape == (1, 16, SIZE["frames"] // 4, 8, 8)
        assert distance(found, core.sample(PRESETS[preset], start[index : index + 1])) <= DRAFT_TOLERANCE
        assert distance(found, whole_run[index : index + 1]) <= DRAFT_TOLERANCE
        assert distance(found, saved_latents(result, kept.id)[index : index + 1]) > 0.1, "refining changed nothing"
