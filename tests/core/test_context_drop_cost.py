"""What Context Drop costs: counted products, plans, budgets, times, memory, the command line."""

import json
from dataclasses import replace

import pytest
import torch
from refusals import refused
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.activations import Kernels
from benchmarks.common.tensor_memory import TensorMemory
from lumina_core import PRESETS, LatentSize, MultiScaleNextDiT, PatchSize, SamplingPlan, cli
from lumina_core.cost.activations import forward_bytes
from lumina_core.cost.budget import propose
from lumina_core.cost.flops import REFERENCE, forward_cost, plan_cost, step_costs
from lumina_core.cost.runtime import Measured, Shape, estimate
from lumina_core.cost.summary import plan_outline
from lumina_core.network.attention import repeat_heads
from lumina_core.network.config import VideoConfig
from lumina_core.network.forward_options import NetworkOptions
from lumina_core.network.ops import Ops
from lumina_core.sampling.presets import preset_clip

RELEASED = VideoConfig()
SMALL = VideoConfig(dim=64, layers=4, heads=4, kv_heads=2, ffn_hidden=96, text_dim=48, cond_dim=32)


def plain_attention(q, k, v, mask):
    """Attention as two products, which torch's counter sees."""
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    return ((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("patch", SMALL.patches, ids=str)
@pytest.mark.parametrize("size", [(4, 8, 16), (4, 12, 20), (1, 8, 12)], ids=str)
@pytest.mark.parametrize("t, dropping", [(0.0, 4), (0.3, 3), (0.5, 2)])
def test_the_formula_counts_what_the_network_multiplies(patch, size, t, dropping):
    model = MultiScaleNextDiT(SMALL, Ops(linear=torch.nn.Linear, attention=plain_attention))
    x, text, motion = torch.randn(1, 16, *size), torch.randn(1, 7, 48), torch.tensor([2.0])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x, torch.tensor([t]), text, None, motion, patch, NetworkOptions(context_drop=1.0))
    assert counter.get_total_flops() == forward_cost(SMALL, LatentSize(*size), patch, 7, dropping).total


@pytest.mark.parametrize("name, share", [("f24F96R960", "0.351"), ("f16F64R512", "0.583")])
def test_a_first_pass_of_the_released_model(name, share):
    size = preset_clip(name).size.latent()
    plain, pooled = (forward_cost(RELEASED, size, REFERENCE, 200, dropping).total for dropping in (0, 24))
    assert f"{pooled / plain:.3f}" == share


def test_a_plan_is_relative_to_1x2_with_all_keys():
    size = preset_clip("f24F96R960").size.latent()
    plain = PRESETS["f24F96R960-MultiScale"]
    found = [plan_cost(plain.replace(context_drop=t), size, RELEASED) for t in (0.0, 0.3, 1.0)]
    assert [f"{cost.relative:.3f}" for cost in found] == ["0.282", "0.199", "0.143"]
    for cost, until in zip(found, (0.0, 0.3, 1.0), strict=True):
        assert cost.relative / found[0].relative == pytest.approx(cost.flops / found[0].flops)
        assert sum(s.flops for s in cost.segments) == cost.flops
        assert sum(step_costs(plain.replace(context_drop=until), size, RELEASED)) == cost.flops
    late = [cost.segments[-1].flops for cost in found]
    assert late[1] < late[0], "a segment from 0.22 to 1 still drops a little up to 0.3"
    assert plan_cost(plain.replace(context_drop=0.2), size, RELEASED).segments[-1].flops == late[0]


def test_a_budget_buys_finer_steps():
    size = preset_clip("f24F96R960").size.latent()
    plain = PRESETS["f24F96R960-MultiScale"]
    before, after = (propose(plain.replace(context_drop=t), 0.3, size, RELEASED) for t in (0.0, 1.0))
    fine = [sum(e.patch == PatchSize(1, 2) for e in plan.evaluations()) for plan in (before, after)]
    assert fine[0] < fine[1]
    assert plan_cost(after, size, RELEASED).relative <= 0.3
    assert after.context_drop == 1.0


def test_the_outline_counts_it():
    plan, size = SamplingPlan(patch="1x2", points=5), LatentSize(4, 16, 16)
    plain, dropping = (plan_outline(plan.replace(context_drop=t), size, SMALL) for t in (0.0, 1.0))
    assert dropping["flops"] < plain["flops"] and dropping["relative"] < plain["relative"] == 1.0
    assert dropping["least"] < plain["least"]


def test_a_known_shape_with_fewer_flops_takes_its_part():
    known = Shape("1x2", 64, 1, True, 80)
    history = [[Measured(known, 2.0)]]
    found = estimate(history, [(known, 1), (replace(known, flops=60), 2)])
    assert found.parts == pytest.approx((2.0, 3.0)) and not found.exact
    assert estimate(history, [(known, 3)]).exact


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_memory_grows_by_the_table_of_pooled_positions_alone(monkeypatch, dtype):
    config, size = replace(RELEASED, layers=2), LatentSize(16, 48, 84)
    monkeypatch.setattr(MultiScaleNextDiT, "_dropped", lambda self, t, options: [1])
    live = TensorMemory()
    with torch.device("meta"):
        model = MultiScaleNextDiT(config, dtype=dtype).requires_grad_(False)
        x, text = torch.empty((1, 16, 16, 48, 84), dtype=dtype), torch.empty((1, 256, 2304), dtype=dtype)
        number = torch.empty((1,), dtype=dtype)
        with torch.no_grad(), Kernels(), live:
            model(x, number, text, None, number, REFERENCE, NetworkOptions(context_drop=1.0))
    predicted = forward_bytes(config, size.tokens(REFERENCE), 1, dtype.itemsize)
    assert predicted < live.peak <= 1.006 * predicted


def test_the_command_line_takes_it(capsys):
    def plan(*flags):
        assert cli.main(["plan", "--json", *flags]) == 0
        return json.loads(capsys.readouterr().out)

    plain, dropping = plan(), plan("--context-drop", "0.3")
    assert (plain["plan"]["context_drop"], dropping["plan"]["context_drop"]) == (0.0, 0.3)
    assert dropping["flops"] < plain["flops"] and dropping["nfe"] == plain["nfe"]
    assert cli.main(["plan", "--context-drop", "1.5"]) != 0
    assert "context_drop is 1.5; write a number from 0 (off) to 1." in capsys.readouterr().err


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), "much"])
def test_what_a_plan_refuses(value):
    with refused("context_drop", "value", "context_drop"):
        SamplingPlan(patch="1x2", context_drop=value)


def test_a_plan_survives_its_dict():
    plan = SamplingPlan(patch="1x2", context_drop=0.3)
    assert SamplingPlan(**plan.as_dict()) == plan
    assert {e.context_drop for e in plan.evaluations()} == {0.3}
