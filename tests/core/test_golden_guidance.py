"""Guided velocities against the official ``forward_with_multi_cfg``."""

import golden
import pytest
import torch

from lumina_core.sampling.denoiser import Denoiser
from lumina_core.sampling.plan import SamplingPlan

TOLERANCE = 5e-4
CASES = golden.cases("multicfg")
ONE_NEGATIVE = [c for c in CASES if len(c.values[1]["cfg_scale"]) == 1 and c.values[1]["pos_batch_size"] == 1]


def inputs(name, case):
    stored = golden.tensors(f"{name}/multicfg")
    x, text, mask = (stored[case["inputs"][key]] for key in ("x", "cap_feats", "cap_mask"))
    return x, text, mask.bool(), stored[case["output_pos"]]


@pytest.mark.parametrize("name, case", CASES)
def test_branches_and_guidance(name, case):
    """Any number of negatives and items."""
    network = golden.Recorder(golden.model(name))
    found = golden.guided(network, name, case)
    assert network.calls == [case["resolved"]]
    assert golden.error(found, inputs(name, case)[-1]) <= TOLERANCE


@pytest.mark.parametrize("name, case", ONE_NEGATIVE)
def test_the_velocity_that_the_sampler_integrates(name, case):
    """One clip, one negative prompt: the sampler's own path."""
    x, text, mask, expected = inputs(name, case)
    motion, negative_motion = map(golden.piecewise, case["motion_score"])
    plan = SamplingPlan(
        patch=golden.piecewise(case["patch_comb"]),
        guidance=golden.piecewise(case["cfg_scale"][0]),
        motion=motion,
        negative_motion=negative_motion,
        renorm=case["renorm_cfg"],
    )
    network = golden.Recorder(golden.model(name))
    velocity = Denoiser(network, plan, x[:1], (text[:1], mask[:1]), (text[1:], mask[1:]))
    with torch.no_grad():
        found = velocity(torch.tensor(case["t"], dtype=torch.float32), x[:1])
    assert network.calls == [case["resolved"]]
    assert golden.error(found, expected) <= TOLERANCE
