"""Proposed schedules against a search through all of them."""

from itertools import combinations_with_replacement

import pytest
import torch
from refusals import refused

from lumina_core import PRESETS, LatentSize, LuminaError, PatchSize, Piecewise, SamplingPlan
from lumina_core.cost.budget import fitting, propose
from lumina_core.cost.flops import plan_cost
from lumina_core.network.config import VideoConfig
from lumina_core.sampling.presets import preset_clip

CONFIG = VideoConfig()
SIZE = LatentSize(8, 24, 32)
LADDER = [PatchSize(2, 4), PatchSize(2, 2), PatchSize(1, 2)]
SOLVERS = ["euler", "midpoint", "heun2", "rk4"]


def short_plan(solver="euler"):
    return SamplingPlan(patch="1x2", guidance="5 | 0.4: 0", time_shift=3, points=9, solver=solver)


def step_patches(plan, dtype=torch.float32):
    return [plan.patch.at(float(t.to(dtype))) for t in plan.grid()[:-1]]


def all_schedules(plan):
    """Every coarse-to-fine schedule that switches at a step, thresholds at the steps themselves."""
    grid = plan.grid().tolist()
    for switches in combinations_with_replacement(range(plan.steps + 1), len(LADDER) - 1):
        values, thresholds = [LADDER[0]], []
        for patch, step, end in zip(LADDER[1:], switches, [*switches[1:], plan.steps], strict=True):
            if step == 0:
                values = [patch]
            elif step < end:
                values.append(patch)
                thresholds.append(grid[step])
        yield plan.replace(patch=Piecewise(tuple(values), tuple(thresholds)))


def fineness(plan):
    used = step_patches(plan)
    return tuple(used.count(patch) for patch in reversed(LADDER))


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_schedule_that_fits_is_finer(solver):
    plan = short_plan(solver)
    priced = [(plan_cost(p, SIZE, CONFIG).relative, fineness(p)) for p in all_schedules(plan)]
    assert len(priced) == 45
    for budget in [0.13, 0.15, 0.2, 0.3, 0.41, 0.5, 0.77, 0.99, 1.0]:
        found = propose(plan, budget, SIZE, CONFIG)
        assert plan_cost(found, SIZE, CONFIG).relative <= budget + 1e-9
        assert fineness(found) == max(fine for share, fine in priced if share <= budget + 1e-9)


def test_more_budget_never_means_coarser():
    plan = PRESETS["f24F96R960-MultiScale"]
    size = preset_clip("f24F96R960").size.latent()
    budgets = [0.031 + 0.969 * i / 60 for i in range(61)]
    found = [fineness(propose(plan, budget, size, CONFIG)) for budget in budgets]
    assert found == sorted(found)
    assert found[-1] == (69, 0, 0)


@pytest.mark.parametrize("budget", [0.05, 0.2, 0.3, 0.6])
@pytest.mark.parametrize("preset", ["f24F96R960-MultiScale", "f16F64R512-MultiScale"])
def test_thresholds_are_short_and_stand_clear_of_the_steps(preset, budget):
    plan, size = PRESETS[preset], LatentSize(24, 88, 156)
    found = propose(plan, budget, size, CONFIG)
    grid = plan.grid().tolist()
    for threshold in found.patch.thresholds:
        assert len(repr(threshold)) <= 6
        step = next(i for i, t in enumerate(grid) if t >= threshold)
        gap = grid[step] - grid[step - 1]
        assert grid[step - 1] + gap / 4 <= threshold <= grid[step] - gap / 4
    # A run in bf16 rounds t, and still switches at the same steps.
    assert step_patches(found) == step_patches(found, torch.bfloat16)
    assert list(found.patch.values) == sorted(set(found.patch.values), key=LADDER.index)


def test_everything_but_the_patch_schedule_stays():
    plan = PRESETS["f16F64R512-MultiScale"]
    found = propose(plan, 0.5, SIZE, CONFIG)
    assert found.replace(patch=plan.patch) == plan
    assert propose(found, 0.5, SIZE, CONFIG) == found


def test_only_given_patch_sizes_are_used():
    found = propose(short_plan(), 0.6, SIZE, CONFIG, patches=[PatchSize(1, 2), PatchSize(2, 2)])
    assert set(found.patch.values) == {PatchSize(2, 2), PatchSize(1, 2)}


def test_patch_sizes_that_do_not_divide_the_clip_are_left_out():
    assert fitting(LatentSize(4, 6, 8), CONFIG) == (PatchSize(1, 2), PatchSize(2, 2))
    assert fitting(LatentSize(3, 8, 8), CONFIG) == (PatchSize(1, 2),)
    with refused("height", "value", "40", "1x2"):
        fitting(LatentSize(4, 5, 8), CONFIG)


def test_an_image_has_no_frames_to_merge():
    found = propose(short_plan(), 0.5, LatentSize(1, 24, 32), CONFIG)
    assert PatchSize(2, 2) not in found.patch.values


@pytest.mark.parametrize("budget", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_budget_is_a_share(budget):
    with refused("budget", "value", "1x2"):
        propose(short_plan(), budget, SIZE, CONFIG)


def test_an_impossible_budget_names_the_smallest_possible_one():
    with refused("budget", "value", "0.01") as caught:
        propose(short_plan(), 0.01, SIZE, CONFIG)
    smallest = float(str(caught.value).rstrip(".").rsplit(" ", 1)[1])
    assert propose(short_plan(), smallest, SIZE, CONFIG).patch == Piecewise.constant(PatchSize(2, 4))
    with pytest.raises(LuminaError):
        propose(short_plan(), smallest - 0.001, SIZE, CONFIG)
