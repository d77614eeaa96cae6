"""Lumina-Next's network against diffusers' own class with the same random weights."""

from __future__ import annotations

import pytest
import torch
from image_case import CHANNELS, SIDE, TEXT, reference, reference_velocity
from refusals import refused

from lumina_core import PatchSize, SamplingPlan, sample
from lumina_core.checkpoints.image import load_image_model
from lumina_core.network.block import NextDiTBlock
from lumina_core.network.forward_options import NetworkOptions
from lumina_core.network.image import ImageConfig, ImageNextDiT
from lumina_core.network.next_dit import NextDiT
from lumina_core.network.rope import freqs_cis, interleave
from lumina_core.shapes.latents import LatentSize

PATCH = PatchSize(1, 2)
TOLERANCE = 1e-4
SIZES = [(8, 8), (4, 14), (12, 12), (16, 8)]
LARGE = [(12, 12), (16, 8)]


@pytest.fixture(scope="module", params=[2, 4], ids=["grouped heads", "own heads"])
def pair(request, tmp_path_factory):
    """Diffusers' model, and ours from the folder that it saves."""
    folder = tmp_path_factory.mktemp("next")
    theirs = reference(request.param)
    theirs.save_pretrained(folder / "transformer")
    return theirs, load_image_model(folder)


@pytest.fixture
def texts(random):
    """Features and mask of two prompts of 7 and 3 tokens; what the mask hides is large."""
    features, mask = random(2, 7, TEXT), torch.ones(2, 7, dtype=torch.bool)
    mask[1, 3:] = False
    features[1, 3:] *= 100
    return features, mask


def ours(network, x, t, text, mask, **options):
    options = {"rope": "off", **options}
    with torch.no_grad():
        times = torch.full((len(x),), t)
        out = network(x[:, :, None], times, text, mask, torch.zeros(len(x)), PATCH, NetworkOptions(**options))
    return out[:, :, 0]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_velocity_equals_diffusers(pair, texts, random, size):
    theirs, network = pair
    x = random(2, CHANNELS, *size)
    expected = reference_velocity(theirs, x, 0.4, *texts)
    assert float(expected.std()) > 0.1
    assert torch.allclose(ours(network, x, 0.4, *texts), expected, atol=TOLERANCE)


@pytest.mark.parametrize("t", [0.0, 0.29, 0.31, 1.0])
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_scaled_positions_equal_diffusers_on_both_sides_of_the_watershed(pair, texts, random, size, t):
    theirs, network = pair
    x = random(2, CHANNELS, *size)
    expected = reference_velocity(theirs, x, t, *texts, scaled=True)
    found = ours(network, x, t, *texts, rope="time-step")
    assert torch.allclose(found, expected, atol=TOLERANCE)
    assert not torch.allclose(found, ours(network, x, t, *texts), atol=10 * TOLERANCE), "the scaling does something"


@pytest.mark.parametrize("size", LARGE, ids=str)
def test_proportional_attention_equals_diffusers(pair, texts, random, size):
    theirs, network = pair
    x = random(2, CHANNELS, *size)
    expected = reference_velocity(theirs, x, 0.6, *texts, scaled=True, proportional=True)
    found = ours(network, x, 0.6, *texts, rope="time-step", proportional=True)
    assert torch.allclose(found, expected, atol=TOLERANCE)


def test_axes_take_turns_along_a_head():
    turned = interleave(freqs_cis((1, 2, 3), (0, 4, 4), 100.0), 2)
    for token, (height, width) in enumerate((h, w) for h in range(2) for w in range(3)):
        angles = torch.tensor([place / 10**e for e in (0, 1) for place in (height, width)])
        assert torch.allclose(turned[token], torch.polar(torch.ones(4), angles), atol=1e-6)


def test_without_learned_sigma(texts, random, tmp_path):
    theirs = reference(2, learn_sigma=False)
    theirs.save_pretrained(tmp_path)
    x, network = random(2, CHANNELS, 8, 8), load_image_model(tmp_path)
    assert not network.config.learn_sigma
    assert torch.allclose(ours(network, x, 0.4, *texts), reference_velocity(theirs, x, 0.4, *texts), atol=TOLERANCE)


@pytest.mark.parametrize("guided", [None, 3])
def test_the_sampler_runs_it_as_the_released_one_does(pair, texts, random, guided):
    """Three of four channels guided, scaled positions and proportional attention: diffusers' pipeline, step by step."""
    theirs, network = pair
    network = ImageNextDiT(ImageConfig(**{**vars(network.config), "guided_channels": guided}))
    network.load_state_dict(pair[1].state_dict())
    plan = SamplingPlan(patch="1x2", guidance="3", points=6, time_shift=4.0, rope="time-step", proportional=True)
    prompts = [(features[None], mask[None]) for features, mask in zip(*texts, strict=True)]
    noise = random(1, CHANNELS, 12, 12)
    found = sample(network, noise[:, :, None], plan, *prompts)[:, :, 0]
    x, grid = noise, plan.grid().tolist()
    for t, following in zip(grid, grid[1:], strict=False):
        both = reference_velocity(theirs, x.repeat(2, 1, 1, 1), t, *texts, scaled=True, proportional=True)
        first = both[0] + 3 * (both[0] - both[1])
        v = torch.cat([first[:guided], both[0][guided:]]) if guided else first
        x = x + (following - t) * v
    assert torch.allclose(found, x, atol=TOLERANCE)


def test_wrong_sizes_are_told(pair, texts, random):
    config = pair[1].config
    with refused("text_encoder", "mismatch", "Gemma-2B", "2048"):
        config.check_text_width(2304)
    with refused("vae", "mismatch", "SDXL", "4"):
        config.check_channels(16)
    with refused("heads", "value", "30", "multiple of 4"):
        ImageConfig(dim=60, heads=2, kv_heads=2)
    with refused("width", "value", "56", "1x2"):
        ours(pair[1], random(2, CHANNELS, 8, 7), 0.5, *texts)


def test_released_network():
    with torch.device("meta"):
        network = ImageNextDiT(ImageConfig())
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["x_embedder.weight"] == (2304, 16) and shapes["final_layer.linear.weight"] == (32, 2304)
    assert shapes["layers.23.attention.wk_y.weight"] == (576, 2048) and shapes["cap_embedder.1.weight"] == (1024, 2048)
    assert shapes["layers.0.attention.gate"] == (32,) and shapes["pad_token"] == (2304,)
    assert not any("motion" in key or key.startswith("all_") for key in shapes)
    assert sum(value.numel() for value in network.parameters()) == 1_627_386_400


def test_blocks_and_backbone_are_the_shared_ones(pair):
    assert isinstance(pair[1], NextDiT) and all(type(layer) is NextDiTBlock for layer in pair[1].layers)
    assert pair[1].config.train_size == LatentSize(1, SIDE, SIDE)
