"""The step cache: what it asks the network, what it foretells, and that it is off unless asked for."""

import re

import pytest
import torch
from fake_network import FakeNetwork

from lumina_core import PRESETS, SamplingPlan, sample
from lumina_core.cli import main
from lumina_core.sampling.step_cache import StepCache

SHAPE = (1, 16, 2, 4, 4)
TEXT = (torch.ones(1, 2, 3), None)
PLAN = SamplingPlan(patch="1x2", points=41, cache=0.3)
MULTI = PRESETS["f24F96R960-MultiScale"].replace(cache=1.0)


class Network(FakeNetwork):
    """A velocity that is a line in t for every patch size and motion score, and its calls."""

    def __init__(self, slope: float = 0.5):
        self.slope, self.calls = slope, []

    def __call__(self, x, t, text, text_mask, motion, patch):
        self.calls.append((round(t[0].item(), 6), len(x)))
        shape = torch.linspace(-1, 1, x[0].numel()).view_as(x[0])
        level = 1 + patch.space + 0.1 * motion.view(-1, 1, 1, 1, 1)
        return shape * (level + self.slope * t.view(-1, 1, 1, 1, 1)).expand_as(x)


def run(plan: SamplingPlan, network: Network | None = None, **part):
    """Latents, reused steps and computed steps."""
    network, told = network or Network(), []
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    latents = sample(network, noise, plan, TEXT, TEXT, on_step=told.append, **part)
    reused = [info.step for info in told if info.reused]
    computed = [info.step for info in told if not info.reused]
    assert len(network.calls) == len(computed)
    return latents, reused, computed


def test_a_line_is_foretold_exactly():
    exact, reused, _ = run(PLAN.replace(cache=0.0))
    assert reused == []
    latents, reused, _ = run(PLAN)
    assert len(reused) >= 10
    torch.testing.assert_close(latents, exact, atol=1e-5, rtol=0)


def test_a_larger_tolerance_reuses_more():
    counts = [len(run(PLAN.replace(cache=cache))[1]) for cache in (0.01, 0.05, 0.3)]
    assert counts == sorted(set(counts))


def test_presets_have_no_cache():
    assert {plan.cache for plan in PRESETS.values()} == {0.0}


def test_each_segment_begins_with_two_computed_and_the_last_step_is_computed():
    """At the largest tolerance and a velocity that hardly changes, nothing else is asked for."""
    _, _, computed = run(MULTI, Network(slope=1e-3))
    asked = [MULTI.at(float(t)).segment for t in MULTI.grid()[:-1]]
    starts = [i for i in range(MULTI.steps) if i == 0 or asked[i] != asked[i - 1]]
    # Patch size twice, guidance once, and the motion score of the negative pass once.
    assert len(starts) == 5
    assert computed == sorted({*starts, *(i + 1 for i in starts), MULTI.steps - 1})


def test_a_motion_score_that_no_pass_is_given_starts_no_segment():
    plan = SamplingPlan(patch="1x2", guidance=0, negative_motion="2 | 0.5: 6")
    assert plan.at(0.2).segment == plan.at(0.8).segment
    guided = plan.replace(guidance=3)
    assert guided.at(0.2).segment != guided.at(0.8).segment


def test_the_change_is_summed_since_the_last_computed_step():
    """|v| is 1 at first and x moves with v: the sum of the foretold changes decides, not the last one alone."""
    shape = torch.ones(SHAPE) / torch.ones(SHAPE).norm()
    cache, asked = StepCache(0.25), []

    def step(t: float, size: float, last: bool = False):
        def compute():
            asked.append(t)
            return shape * size

        return cache.velocity("s", t, shape * t, compute, last)

    step(0.0, 1.0)
    step(0.1, 1.1)
    # Rate 1 of |v| over |x|; each step moves x by 0.1, which is 0.1 / 1.1 of v.
    torch.testing.assert_close(step(0.2, 9.0), shape * 1.2)
    torch.testing.assert_close(step(0.3, 9.0), shape * 1.3)
    step(0.4, 1.4)
    assert asked == [0.0, 0.1, 0.4]
    assert (cache.evaluations, cache.reused) == (5, 2)
    step(0.5, 1.5, last=True)
    assert asked[-1] == 0.5


def test_a_state_that_stands_still_or_a_velocity_of_nothing_is_never_foretold():
    cache = StepCache(1.0)
    for t in (0.0, 0.1, 0.2):
        cache.velocity("s", t, torch.ones(SHAPE), lambda: torch.zeros(SHAPE), False)
    assert cache.reused == 0


def test_a_sampler_that_works_in_place_changes_nothing():
    results = []
    for in_place in (False, True):
        cache, x = StepCache(0.5), torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
        for i in range(12):
            v = cache.velocity("s", i / 12, x, lambda x=x: 0.9 * x.clone(), i == 11)
            x = x.add_(v / 12) if in_place else x + v / 12
        results.append((x, cache.reused))
    assert results[0][1] == results[1][1] > 0
    assert torch.equal(results[0][0], results[1][0])


def test_a_part_of_a_run_computes_its_own_last_step():
    _, reused, computed = run(PLAN, Network(slope=1e-3), start=10, stop=20)
    assert computed == [10, 11, 19]
    assert reused == list(range(12, 19))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_two_runs_are_the_same(dtype):
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    first, second = (sample(Network(), noise, MULTI, TEXT, TEXT) for _ in range(2))
    assert first.dtype == dtype and torch.equal(first, second)


def test_generate_counts_what_was_computed_and_says_what_was_reused(tiny_set, tmp_path, capsys):
    models = ["--checkpoint", tiny_set.model, "--text-encoder", tiny_set.text, "--vae", tiny_set.vae, "--device", "cpu"]
    clip = ["--width", 64, "--height", 32, "--frames", 8, "--points", 31, "--time-shift", 1, "--patch", "1x2"]
    asked = ["--guidance", "1 | 0.5: 0", "--motion", "none", "--negative-motion", "none", "--cache", 1]
    command = ["generate", *models, "--prompt", "a cat", *clip, *asked, "--out", tmp_path / "clip.mp4"]
    assert main([str(part) for part in command]) == 0
    out, err = capsys.readouterr()
    (reused,) = re.findall(r"note: (\d+) of 30 evaluations were reused\.", err)
    nfe, passes = map(int, re.search(r"NFE (\d+) \((\d+) network passes\)", out).groups())
    assert int(reused) > 0 and nfe == 30 - int(reused)
    # Half of the steps are guided: two passes each, and at least three of either half are computed.
    assert nfe < passes < 45


def test_the_plan_command_shows_the_tolerance(capsys):
    assert main(["plan", "--cache", "0.2"]) == 0
    assert re.search(r"^cache +0.2$", capsys.readouterr().out, re.MULTILINE)
