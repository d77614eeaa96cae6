"""The memory of a run, said before it: the counted parts, the phases, what would fit, and the refusal."""

from dataclasses import replace

import pytest
import torch
from fake_network import FakeNetwork
from refusals import refused

from benchmarks.common.tensor_memory import TensorMemory
from lumina_core.checkpoints.video import read_video_config
from lumina_core.cli import main
from lumina_core.cli.plan import MemoryFit, memory_fit
from lumina_core.cost.activations import forward_bytes
from lumina_core.cost.memory import (
    COMPACT_VAE_PARAMS,
    GIB,
    STATE_BYTES,
    VAE_PARAMS,
    RunSpec,
    memory_plan,
    parameters,
)
from lumina_core.cost.memory_advice import advice, check_memory, in_gib, smaller
from lumina_core.network.config import VideoConfig
from lumina_core.network.video import MultiScaleNextDiT
from lumina_core.pipelines import video as pipeline
from lumina_core.pipelines.bundle import find_bundle
from lumina_core.sampling.presets import PRESETS, preset_clip
from lumina_core.sampling.solvers import SOLVERS
from lumina_core.sampling.video import sample
from lumina_core.shapes.schedules import PatchSize
from lumina_core.vae.loader import RELEASED as RELEASED_VAE
from lumina_core.vae.loader import load_video_vae

RELEASED = RunSpec(VideoConfig(), preset_clip("f24F96R960").size.latent(), PRESETS["f24F96R960"])
SMALL = VideoConfig(dim=192, layers=3, heads=4, kv_heads=2, ffn_hidden=512, text_dim=128, cond_dim=96, qk_norm=False)


@pytest.mark.parametrize("config", [VideoConfig(), SMALL, replace(SMALL, patches=(PatchSize(1, 2),), qk_norm=True)])
def test_parameters_are_those_of_the_network(config) -> None:
    with torch.device("meta"):
        network = MultiScaleNextDiT(config)
    assert parameters(config) == sum(parameter.numel() for parameter in network.parameters())


def test_offloaded_weights_are_two_blocks_and_what_is_in_none() -> None:
    with torch.device("meta"):
        network = MultiScaleNextDiT(SMALL)
    block = sum(parameter.numel() for parameter in network.layers[0].parameters())
    plan = memory_plan(replace(RELEASED, config=SMALL, offload=True))
    assert plan.weights == 2 * (parameters(SMALL) - (SMALL.layers - 2) * block)


def test_the_bundled_vae_has_the_numbers_that_are_counted() -> None:
    vae = load_video_vae(find_bundle("mini").vae).module
    assert sum(parameter.numel() for parameter in vae.parameters()) == COMPACT_VAE_PARAMS


def test_the_released_vae_has_the_numbers_that_are_counted() -> None:
    from diffusers import AutoencoderKLCogVideoX

    with torch.device("meta"):
        vae = AutoencoderKLCogVideoX.from_config(RELEASED_VAE)
    assert sum(parameter.numel() for parameter in vae.parameters()) == VAE_PARAMS


class Halving(FakeNetwork):
    """A velocity that takes no memory of its own."""

    def __call__(self, x, *_):
        return x * 0.5


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_sampler_keeps_no_more_than_is_counted(solver) -> None:
    noise = torch.randn(1, 16, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    text = (torch.ones(1, 1, 1), None)
    with TensorMemory() as live:
        sample(Halving(), noise, RELEASED.plan.replace(points=4, solver=solver), text, text)
    counted = live.peak / noise.numel()
    assert counted <= STATE_BYTES + 1, "four bytes of text are in the count"
    assert solver != "rk4" or counted >= 0.9 * STATE_BYTES


def test_the_phases_follow_one_another() -> None:
    plan = memory_plan(RELEASED)
    patch = PatchSize(1, 2)
    tokens = RELEASED.size.tokens(patch)
    assert plan.forward == {patch: forward_bytes(RELEASED.config, tokens, 2, 2)}, "both passes of guidance together"
    assert plan.weights == 2 * parameters(RELEASED.config)
    assert plan.sampling == plan.weights + plan.state + plan.forward[patch]
    assert plan.total == max(plan.sampling, plan.decoding)
    assert plan.frames == 96 * 1248 * 704 * 3 * 4
    assert plan.fits(plan.total) and not plan.fits(plan.total - 1)


def test_every_choice_is_in_the_sum() -> None:
    plan = memory_plan(RELEASED)
    multi = memory_plan(replace(RELEASED, plan=PRESETS["f24F96R960-MultiScale"]))
    assert list(map(str, multi.forward)) == ["2x4", "2x2", "1x2"]
    assert sorted(multi.forward.values()) == list(multi.forward.values())
    unguided = replace(RELEASED, plan=RELEASED.plan.replace(guidance="0"))
    split = memory_plan(replace(RELEASED, split=True))
    assert memory_plan(unguided).forward == split.forward, "one item at a time"
    assert split.sampling < plan.sampling
    assert memory_plan(replace(RELEASED, weight_size=1)).weights * 2 == plan.weights
    assert memory_plan(replace(RELEASED, batch=2)).frames == 2 * plan.frames
    tiled = memory_plan(replace(RELEASED, tile=32))
    assert tiled.decode * (88 * 156) == plan.decode * 32 * 32


def test_advice_goes_from_the_smallest_sacrifice_on() -> None:
    # A bundled VAE, so that it is the sampling that does not fit.
    run = replace(RELEASED, config=VideoConfig(channels=8))
    words, room = [], memory_plan(run).total
    while (found := smaller(run, room - 1)) is not None:
        words.append(found.changes.split(", ")[-1])
        assert found.plan.total <= room - 1
        assert found.gives_up is not any(kind in words[-1] for kind in ("offloaded", "two passes"))
        room = found.plan.total
    kinds = [next(k for k in ("offloaded", "two passes", "patch size", "frames", "pixels") if k in w) for w in words]
    assert list(dict.fromkeys(kinds)) == ["offloaded", "two passes", "patch size", "frames", "pixels"], words
    assert kinds == sorted(kinds, key=list(dict.fromkeys(kinds)).index)


def test_advice_is_one_sentence() -> None:
    needed = memory_plan(RELEASED).total
    assert advice(RELEASED, needed) is None
    sentence = advice(RELEASED, needed - 1)
    assert sentence.startswith(f"This run needs {in_gib(needed)} and ") and "; it fits with " in sentence
    assert "offloaded" not in advice(RELEASED, 4 * GIB, offload=False)
    assert "offloaded" in advice(RELEASED, 4 * GIB)
    assert advice(RELEASED, GIB // 4).endswith("nothing smaller fits, so use a device with more memory.")


def test_a_card_that_is_too_small_is_refused_and_a_processor_warned() -> None:
    split = memory_plan(replace(RELEASED, split=True)).total
    for device in map(torch.device, ("cuda", "cpu")):
        assert check_memory(RELEASED, device, split) is None
        assert check_memory(RELEASED, device, None) is None
    with refused("size", "resource"):
        check_memory(RELEASED, torch.device("cuda"), split - 1)
    assert "This run needs" in check_memory(RELEASED, torch.device("cpu"), split - 1)


def test_generate_asks_before_anything_is_loaded(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(pipeline, "available_memory", lambda device: 10 * 2**20)
    monkeypatch.setattr("lumina_core.pipelines.video_stages.load_video_vae", lambda *_: pytest.fail("loaded"))
    monkeypatch.setattr(pipeline, "check_memory", lambda run, _, room: check_memory(run, torch.device("cuda"), room))
    assert main(["generate", "--bundle", "mini", "--prompt", "x", "--out", str(tmp_path / "a.mp4")]) == 1
    assert "error: This run needs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_plan_tells_the_memory(capsys) -> None:
    assert main(["plan", "--preset", "f16F64R512", "--memory", "200"]) == 0
    text = capsys.readouterr().out
    run = replace(RELEASED, size=preset_clip("f16F64R512").size.latent(), plan=PRESETS["f16F64R512"])
    plan = memory_plan(run)
    assert f"sampling {in_gib(plan.sampling)}: weights {in_gib(plan.weights)}" in text
    assert f"It fits: {in_gib(plan.total)} of 199.0 GiB." in text
    assert memory_fit(run, None) is None
    assert memory_fit(run, 2.5) == MemoryFit(round(2.5 * GIB), advice(run, round(1.5 * GIB)))
    assert advice(run, round(1.5 * GIB)) is not None
    assert main(["plan", "--memory", "1"]) == 2
    assert "--memory is 1; " in capsys.readouterr().err


def test_the_mini_bundle_is_small() -> None:
    bundle = find_bundle("mini")
    run = RunSpec(read_video_config(bundle.checkpoint), bundle.size.latent(), PRESETS["mini-MultiScale"], weight_size=4)
    assert memory_plan(run).total < 0.25 * GIB
