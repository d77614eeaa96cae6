"""Clips beyond the trained size: which are scaled and by how much, what a run keeps, proportional attention, notes."""

from dataclasses import replace

import pytest
import torch
from refusals import refused

import lumina_core.network.next_dit
from lumina_core import LatentSize, MultiScaleNextDiT, PatchSize, SamplingPlan, sample
from lumina_core.checkpoints.audio import read_audio_config
from lumina_core.checkpoints.video import read_video_config
from lumina_core.network.attention import plain_attention
from lumina_core.network.config import VideoConfig
from lumina_core.network.extrapolation import proportional_scale, size_warning, video_factors, video_scaling
from lumina_core.network.forward_options import ROPES, NetworkOptions
from lumina_core.network.rope import freqs_cis
from lumina_core.pipelines.bundle import find_bundle
from scripts.make_tiny_set import random_weights

TRAINED = LatentSize(2, 4, 8)
LARGER = LatentSize(4, 8, 16)
CONFIG = VideoConfig(dim=32, layers=2, heads=2, kv_heads=1, ffn_hidden=64, text_dim=24, cond_dim=16, train_size=TRAINED)
UNKNOWN = replace(CONFIG, train_size=None)
P12, P22 = PatchSize(1, 2), PatchSize(2, 2)
METHODS = [name for name in ROPES if name not in ("auto", "off")]


def network(config=CONFIG) -> MultiScaleNextDiT:
    made = MultiScaleNextDiT(config)
    made.load_state_dict(random_weights(made.state_dict(), 0))
    return made.eval().requires_grad_(False)


def velocity(random, options, config=CONFIG, size=LARGER, times=(0.4, 0.4), net=None):
    x, text = random(len(times), CONFIG.channels, size.frames, size.height, size.width), random(len(times), 5, 24)
    return (net or network(config))(
        x, torch.tensor(times), text, None, torch.ones(len(times)), P12, NetworkOptions(**options)
    )


@pytest.fixture
def random():
    """The same numbers at every call."""
    return lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_factors_are_of_length_and_of_area():
    assert video_factors(LARGER, TRAINED) == (2, 2, 2)
    assert video_factors(LatentSize(3, 8, 4), TRAINED) == (1.5, 1, 1), "another shape of the trained area"
    assert video_factors(LatentSize(1, 8, 8), TRAINED) == (0.5, 2**0.5, 2**0.5)


@pytest.mark.parametrize("patch, lengths", [(P12, (2, 8**0.5, 8**0.5)), (P22, (1, 8**0.5, 8**0.5))])
def test_a_scaling_counts_the_trained_positions_of_the_patch_size(patch, lengths):
    (found,) = video_scaling(CONFIG, LARGER, patch, NetworkOptions(rope="ntk"), torch.tensor([0.2]))
    assert found.factors == (2, 2, 2) and found.trained == pytest.approx(lengths)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_changes_larger_clips_and_no_others(random, method):
    off = velocity(random, {"rope": "off"})
    assert not torch.allclose(velocity(random, {"rope": method}), off, atol=1e-4)
    for size in (TRAINED, LatentSize(2, 8, 4), LatentSize(1, 4, 4)):
        plain = velocity(random, {"rope": "off"}, size=size)
        assert torch.equal(velocity(random, {"rope": method}, size=size), plain)


def test_auto_scales_where_the_trained_size_is_known(random):
    off = velocity(random, {"rope": "off"})
    assert not torch.equal(velocity(random, {}), off)
    assert torch.equal(velocity(random, {}, UNKNOWN), off)
    assert torch.equal(velocity(random, {"train_size": TRAINED}, UNKNOWN), velocity(random, {}))
    assert torch.equal(velocity(random, {"train_size": LARGER}), off), "the given size counts, not the stored one"


@pytest.mark.parametrize("options", [{"rope": "time"}, {"proportional": True}])
def test_a_method_that_needs_an_unknown_size_is_refused(random, options):
    with refused("train_size", "missing"):
        velocity(random, options, UNKNOWN)


@pytest.mark.parametrize("method", ["time", "time-step"])
def test_items_at_unequal_times_are_each_at_their_own(random, method):
    times = (0.1, 0.9)
    both, net = velocity(random, {"rope": method}, times=times), network()
    x, text = random(2, CONFIG.channels, *(4, 8, 16)), random(2, 5, 24)
    for i, t in enumerate(times):
        rows = slice(i, i + 1)
        alone = net(x[rows], torch.tensor([t]), text[rows], None, torch.ones(1), P12, NetworkOptions(rope=method))
        assert torch.allclose(both[rows], alone, atol=1e-5)


@pytest.mark.parametrize("rope, tables", [("off", 2), ("ntk", 2), ("time-step", 3), ("time", 8)])
def test_a_run_makes_a_table_only_where_it_changes(random, monkeypatch, rope, tables):
    """Eight steps in two segments: one table each, one more at the watershed, or one for each time."""
    made = []

    def counted(*where):
        made.append(where)
        return freqs_cis(*where)

    monkeypatch.setattr(lumina_core.network.next_dit, "freqs_cis", counted)
    plan = SamplingPlan(patch="2x2 | 0.5: 1x2", points=9, guidance="3 | 0.2: 0", rope=rope)
    sample(network(), random(1, CONFIG.channels, 4, 8, 16), plan, (random(1, 5, 24), None), (random(1, 3, 24), None))
    assert len(made) == tables


def test_proportional_attention_scales_the_scores_of_self_attention_alone(random):
    """Beside an attention whose own scale is sqrt(log_base(N) / head_dim) where queries and keys are the tokens."""
    tokens, trained = LARGER.tokens(P12), TRAINED.tokens(P12)
    factor = (torch.tensor(float(tokens)).log() / torch.tensor(float(trained)).log()).sqrt()
    assert proportional_scale(CONFIG, LARGER, P12, NetworkOptions(proportional=True)) == pytest.approx(float(factor))

    def scaled(q, k, v, mask=None):
        return plain_attention(q * factor if k.shape[2] == tokens else q, k, v, mask)

    expected = velocity(random, {"rope": "off"}, net=network().with_attention(scaled))
    found = velocity(random, {"rope": "off", "proportional": True}, net=network().with_attention(plain_attention))
    assert torch.allclose(found, expected, atol=1e-5)
    plain = velocity(random, {"rope": "off"}, net=network().with_attention(plain_attention))
    assert not torch.allclose(found, plain, atol=1e-4)


def test_at_the_trained_size_proportional_attention_is_plain(random):
    plain = velocity(random, {}, size=TRAINED)
    assert torch.equal(velocity(random, {"proportional": True}, size=TRAINED), plain)


def test_gradients_flow_through_proportional_attention(random):
    net = network().requires_grad_(True)
    velocity(random, {"proportional": True}, net=net).square().sum().backward()
    assert bool(net.layers[0].attention.wk.weight.grad.abs().sum() > 0)


WARNINGS = [
    (CONFIG, LARGER, {"rope": "off"}, ["128x64 with 16 frames", "64x32 with 8 frames", "rope is off"]),
    (UNKNOWN, LatentSize(65, 4, 4), {}, ["257 frames", "64 x 128 x 128 positions", "does not say"]),
    (UNKNOWN, LatentSize(2, 4, 258), {"rope": "off"}, ["2064x32", "positions of the released"]),
    (CONFIG, LARGER, {}, None),
    (CONFIG, TRAINED, {"rope": "off"}, None),
    (UNKNOWN, LARGER, {}, None),
    (UNKNOWN, LatentSize(64, 4, 256), {}, None),
    (CONFIG, LatentSize(65, 4, 4), {}, None),
]


@pytest.mark.parametrize("config, size, options, said", WARNINGS)
def test_positions_that_are_counted_on_are_warned_of(config, size, options, said):
    found = size_warning(config, size, (P12, P22), NetworkOptions(**options))
    assert (found is None) == (said is None)
    assert all(part in found for part in said or [])


def test_what_is_foretold_from_earlier_steps_begins_anew_where_positions_jump():
    """Step cache and multi-step solvers go by the segment."""
    plan = SamplingPlan(patch="1x2", rope="time-step")
    assert plan.at(0.29).segment != plan.at(0.3).segment == plan.at(0.9).segment
    for rope in ("auto", "off", "ntk", "time"):
        smooth = plan.replace(rope=rope)
        assert smooth.at(0.29).segment == smooth.at(0.3).segment


def test_the_mini_bundle_says_what_it_was_trained_on():
    bundle = find_bundle("mini")
    assert read_video_config(bundle.checkpoint).train_size == bundle.size.latent()
    assert read_audio_config(bundle.audio).train_rows == 100, "4 s"
