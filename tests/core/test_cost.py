"""Costs against the published figures of the released model and against counted multiplications."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lumina_core import PRESETS, LatentSize, MultiScaleNextDiT, PatchSize, SamplingPlan
from lumina_core.cost.flops import REFERENCE, forward_cost, plan_cost, step_costs
from lumina_core.network.attention import repeat_heads
from lumina_core.network.config import VideoConfig
from lumina_core.network.ops import Ops
from lumina_core.sampling.presets import preset_clip

RELEASED = VideoConfig()
# (tokens, TFLOP, relative, % self-attention, % linear, % text attention) of one pass with 200 text tokens
FORWARDS = {
    "f24F96R960": {
        "1x2": (82368, "1735.2", "1.000", "86.5", "13.3", "0.21"),
        "2x2": (41184, "492.5", "0.284", "76.2", "23.4", "0.37"),
        "2x4": (10296, "52.9", "0.030", "44.4", "54.7", "0.86"),
    },
    "f16F64R512": {
        "1x2": (16128, "103.5", "1.000", "55.6", "43.7", "0.69"),
        "2x2": (8064, "37.4", "0.361", "38.5", "60.5", "0.95"),
        "2x4": (2016, "6.7", "0.065", "13.4", "84.5", "1.33"),
    },
}
# steps and guided steps per patch size, passes, PFLOP of 1x2 only and of multi-scale, relative
SCHEDULES = {
    "f24F96R960": ((30, 24, 15), (30, 24, 6), 129, "223.7", "63.2", "0.282"),
    "f16F64R512": ((28, 26, 15), (28, 26, 5), 128, "13.21", "4.37", "0.331"),
}
PATCHES = [PatchSize(2, 4), PatchSize(2, 2), PatchSize(1, 2)]


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_one_pass_of_the_released_model(name, patch):
    size = preset_clip(name).size.latent()
    cost = forward_cost(RELEASED, size, patch, 200)
    reference = forward_cost(RELEASED, size, REFERENCE, 200).total
    linear = cost.projections + cost.feed_forward + cost.rest
    found = (
        cost.tokens,
        f"{cost.total / 1e12:.1f}",
        f"{cost.total / reference:.3f}",
        f"{100 * cost.self_attention / cost.total:.1f}",
        f"{100 * linear / cost.total:.1f}",
        f"{100 * cost.text_attention / cost.total:.2f}",
    )
    assert found == FORWARDS[name][str(patch)]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_released_schedules(name, dtype):
    size = preset_clip(name).size.latent()
    steps, guided, passes, single, multi, relative = SCHEDULES[name]
    cost = plan_cost(PRESETS[f"{name}-MultiScale"], size, RELEASED, dtype=dtype)
    assert tuple(sum(s.steps for s in cost.segments if s.patch == p) for p in PATCHES) == steps
    assert tuple(sum(s.steps for s in cost.segments if s.patch == p and s.guided) for p in PATCHES) == guided
    assert (cost.nfe, cost.passes) == (69, passes)
    digits = len(multi.partition(".")[2])
    assert f"{cost.flops / 1e15:.{digits}f}" == multi
    assert f"{plan_cost(PRESETS[name], size, RELEASED).flops / 1e15:.{digits}f}" == single
    assert f"{cost.relative:.3f}" == relative


def plain_attention(q, k, v, mask):
    """Attention as two products; torch's counter does not see into fused CPU kernels, nor into oneDNN's products."""
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    return ((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("patch", PATCHES, ids=str)
@pytest.mark.parametrize("frames", [1, 4])
def test_the_formula_counts_what_the_network_multiplies(patch, frames):
    config = VideoConfig(dim=64, layers=2, heads=4, kv_heads=2, ffn_hidden=96, text_dim=48, cond_dim=32)
    model = MultiScaleNextDiT(config, Ops(linear=torch.nn.Linear, attention=plain_attention))
    size = LatentSize(frames, 8, 12)
    x = torch.randn(1, 16, frames, 8, 12)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x, torch.tensor([0.5]), torch.randn(1, 7, 48), None, torch.tensor([2.0]), patch)
    assert counter.get_total_flops() == forward_cost(config, size, patch, 7).total


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun2", "rk4"])
def test_segments_cover_the_plan(solver):
    plan = PRESETS["f16F64R512-MultiScale"].replace(solver=solver)
    size = LatentSize(4, 8, 8)
    cost = plan_cost(plan, size, RELEASED)
    found = list(cost.segments)
    assert found[0].first_step == 1 and found[-1].last_step == plan.steps
    assert found[0].t_start == 0.0 and found[-1].t_end == 1.0
    for before, after in zip(found, found[1:], strict=False):
        assert after.first_step == before.last_step + 1
        assert after.t_start == before.t_end
        assert (after.patch, after.guided) != (before.patch, before.guided)
    evaluations = list(plan.evaluations())
    assert cost.nfe == len(evaluations)
    assert cost.passes == sum(e.passes for e in evaluations)
    assert sum(s.share for s in found) == pytest.approx(1)
    assert sum(s.flops for s in found) == sum(step_costs(plan, size, RELEASED)) == cost.flops
    assert len(step_costs(plan, size, RELEASED)) == plan.steps


def test_a_plan_of_one_segment():
    cost = plan_cost(SamplingPlan(patch="1x2", points=5), LatentSize(2, 4, 4), RELEASED)
    (segment,) = cost.segments
    assert (segment.steps, segment.guided, segment.share, cost.relative) == (4, False, 1.0, 1.0)
    assert segment.tokens == 8
