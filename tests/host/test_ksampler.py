"""A plain KSampler with our MODEL patches runs every preset; how far it stays from the official run is bounded here.

Its `simple` scheduler takes sigmas from a table of 1000: it makes the official grid where the steps divide 1000, and
69 do not. docs/parity.md states the figures that this file prints (pytest -s).
"""

import pytest
import torch
from graphs import Graph, Parts, preset_parts
from reference import SEED, Core, distance, noise, run_saved

from lumina_core import PRESETS

LATENT_BOUND = 0.5
"""On max|a - b| / rms(b) of the latents of 69 steps; 0.26 is measured, with a random network at guidance 20."""
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def core(tiny_models) -> Core:
    return Core(tiny_models)


def _ksampler(graph: Graph, parts: Parts, steps: int) -> list:
    model = graph.ours("Guidance", model=parts.model[0], guidance=parts.preset[1], renorm=parts.preset[2])
    shifted = graph.add("ModelSamplingAuraFlow", model=model[0], shift=parts.preset[6])
    return graph.add(
        "KSampler",
        model=shifted[0],
        positive=parts.conditioning[0],
        negative=parts.conditioning[1],
        latent_image=parts.latent[0],
        seed=SEED,
        steps=steps,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_ksampler_stays_near_the_official_run(server, core, preset):
    plan = PRESETS[preset]
    graph = Graph()
    found = run_saved(server, graph, _ksampler(graph, preset_parts(graph, preset), plan.steps))
    assert torch.isfinite(found).all()
    expected = core.sample(plan, noise())
    far = distance(found, expected)
    rms = float((found - expected).pow(2).mean().sqrt() / expected.pow(2).mean().sqrt())
    print(f"\nKSampler simple, {preset}: latents max/rms {far:.2e}, rms/rms {rms:.2e}")
    assert far <= LATENT_BOUND


@pytest.mark.parametrize("preset", PRESETS)
def test_fifty_steps_are_the_official_grid(server, core, preset):
    graph = Graph()
    found = run_saved(server, graph, _ksampler(graph, preset_parts(graph, preset), 50))
    assert distance(found, core.sample(PRESETS[preset].replace(points=51), noise())) <= TOLERANCE
