"""Sound from noise: the plan, guidance with two scales, what the network is asked, solvers, refusals."""

import math
from dataclasses import replace

import pytest
import torch
from fake_network import FakeNetwork, WrappedNetwork
from refusals import refused

from lumina_core import LuminaError, SamplingCancelled
from lumina_core.network.attention import plain_attention
from lumina_core.network.audio import AudioNextDiT
from lumina_core.network.audio_conditioning import AudioCondition
from lumina_core.network.audio_config import AudioConfig
from lumina_core.runtime.oom import OutOfMemory
from lumina_core.sampling.audio import AudioPlan, sample_audio
from lumina_core.sampling.noise import seeded_noise

CONFIG = AudioConfig(
    channels=3, bins=4, dim=32, layers=2, heads=2, kv_heads=1, visual_dim=6, text_dim=5, sync_dim=4, cond_dim=16,
    text_tokens=4,
)  # fmt: skip


@pytest.fixture
def network(random):
    model = AudioNextDiT(CONFIG)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(random(*weight.shape) * 0.3)
        model.null_text_mask.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    return model.eval()


@pytest.fixture
def condition(random):
    """Of two clips of 1 s; the last token of the second text is hidden."""
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[1, -1] = False
    return AudioCondition.of(random(2, 8, 6), random(2, 3, 8, 4), random(2, 3, 5), mask)


@pytest.fixture
def noise(random):
    return random(2, 3, 24, 4)


@pytest.fixture
def negative(random):
    """A negative prompt of five tokens, two more than the prompts have."""
    return random(1, 5, 5), torch.tensor([[True, True, True, True, False]])


class Recorder(WrappedNetwork):
    """A network that notes what it is asked."""

    def __init__(self, network):
        super().__init__(network)
        self.calls = []

    def __call__(self, x, t, condition):
        self.calls.append((x, t, condition))
        return self.network(x, t, condition)


def slowly(network, noise, plan, condition, negative=None):
    """Euler, one pass and one clip at a time, nothing stacked, by the formula as it is written."""
    gv, gt = plan.video_guidance, plan.text_guidance
    rows = []
    for item in range(len(noise)):
        mine = AudioCondition(*(x[item : item + 1] for x in vars(condition).values()))
        x = noise[item : item + 1]
        for step in range(plan.steps):
            a, b = ((k / plan.steps) for k in (step, step + 1))
            a, b = (t / (t + plan.time_shift - plan.time_shift * t) for t in (a, b))
            pos, unseen, other = (
                network(x, torch.tensor([a]), asked)
                for asked in (
                    mine,
                    replace(mine, no_video=torch.tensor([True])),
                    replace(mine, no_text=torch.tensor([True]))
                    if negative is None
                    else replace(mine, text=negative[0], text_mask=negative[1]),
                )
            )
            x = x + (b - a) * (pos + gv * (pos - unseen) + gt * (pos - other))
        rows.append(x)
    return torch.cat(rows)


@pytest.mark.parametrize("with_negative", [False, True])
@pytest.mark.parametrize("video, text", [(2.0, 0.5), (1.5, 0.0), (0.0, 3.0), (0.0, 0.0)])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_equals_a_slow_loop(network, noise, condition, negative, video, text, shift, with_negative):
    plan = AudioPlan(steps=4, video_guidance=video, text_guidance=text, time_shift=shift)
    other = negative if with_negative else None
    found = sample_audio(network, noise, plan, condition, other)
    with torch.no_grad():
        expected = slowly(network, noise, plan, condition, other)
    assert found.shape == noise.shape
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    assert (found - noise).abs().max() > 0.1, "the network moves nothing, so nothing is compared"


@pytest.mark.parametrize("video, text, passes", [(2, 1, 3), (2, 0, 2), (0, 1, 2), (0, 0, 1)])
def test_a_scale_of_0_skips_its_pass_and_all_passes_are_one_call(network, noise, condition, video, text, passes):
    recorder = Recorder(network)
    plan = AudioPlan(steps=3, video_guidance=video, text_guidance=text)
    sample_audio(recorder, noise, plan, condition)
    assert [len(x) for x, _, _ in recorder.calls] == [2 * passes] * 3
    assert plan.passes(condition) == 3 * passes
    asked = recorder.calls[0][2]
    flags = [(False, False)] * 2 + [(True, False)] * 2 * bool(video) + [(False, True)] * 2 * bool(text)
    assert list(zip(asked.no_video.tolist(), asked.no_text.tolist(), strict=True)) == flags


def test_passes_that_would_equal_the_positive_one_are_skipped(network, noise, condition, negative):
    plan = AudioPlan(steps=2, video_guidance=2, text_guidance=1)
    recorder = Recorder(network)
    sample_audio(recorder, noise, plan, condition.without_text())
    assert len(recorder.calls[0][0]) == 2 * 2 and plan.passes(condition.without_text()) == 4
    assert plan.passes(condition.without_text().without_video()) == 2
    # A negative prompt is something to move away from, though there is no prompt.
    assert plan.passes(condition.without_text(), negative) == 6


def test_a_negative_prompt_keeps_the_video_and_takes_the_place_of_no_text(network, noise, condition, negative):
    recorder = Recorder(network)
    sample_audio(recorder, noise, AudioPlan(steps=1, video_guidance=0, text_guidance=1), condition, negative)
    asked = recorder.calls[0][2]
    assert not asked.no_text.any() and not asked.no_video.any()
    assert torch.equal(asked.visual[2:], condition.visual) and torch.equal(asked.sync[2:], condition.sync)
    for item in (2, 3):
        assert torch.equal(asked.text[item], negative[0][0])
        assert torch.equal(asked.text_mask[item], negative[1][0])
    # The shorter prompts are padded, and the padding is hidden.
    assert torch.equal(asked.text[:2, :3], condition.text) and not asked.text_mask[:2, 3:].any()
    assert torch.equal(asked.text_mask[:2, :3], condition.text_mask)


def test_one_clip_serves_every_item(network, noise, condition):
    one = AudioCondition(*(x[:1] for x in vars(condition).values()))
    plan = AudioPlan(steps=2)
    torch.testing.assert_close(
        sample_audio(network, noise, plan, one), sample_audio(network, noise, plan, one.expand(2))
    )


class Flow(FakeNetwork):
    """Velocity x + cos t, whose flow is known: a stand-in for the network."""

    def __call__(self, x, t, condition):
        return x + torch.cos(t).view(-1, 1, 1, 1)

    def exact(self, x):
        return (x + 0.5) * math.e + (math.sin(1) - math.cos(1)) / 2


@pytest.mark.parametrize("solver, order, steps", [("euler", 1, 32), ("midpoint", 2, 8), ("heun2", 2, 8), ("rk4", 4, 4)])
def test_solver_order_and_evaluations(noise, condition, solver, order, steps):
    errors = []
    for count in (steps, 2 * steps):
        recorder = Recorder(Flow())
        plan = AudioPlan(steps=count, video_guidance=0, text_guidance=0, solver=solver)
        found = sample_audio(recorder, noise.double(), plan, condition)
        errors.append((found - recorder.network.exact(noise.double())).abs().max().item())
        assert plan.nfe == len(recorder.calls)
        assert [float(t[0]) for _, t, _ in recorder.calls] == pytest.approx(list(plan.evaluations()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_the_grid_runs_from_noise_to_sound():
    for shift in (1.0, 2.5):
        grid = AudioPlan(steps=10, time_shift=shift).grid()
        assert len(grid) == 11 and grid[0] == 0 and grid[-1] == 1 and (grid.diff() > 0).all()
    assert AudioPlan(steps=25).nfe == 25 and AudioPlan(steps=10, solver="rk4").nfe == 40


def test_each_step_is_told_and_can_cancel(network, noise, condition):
    plan, told = AudioPlan(steps=5, time_shift=2.0), []
    final = sample_audio(network, noise, plan, condition, on_step=told.append)
    assert [(info.step, info.steps) for info in told] == [(step, 5) for step in range(5)]
    assert [info.t for info in told] == pytest.approx(plan.grid()[:-1].tolist())
    assert torch.equal(told[-1].latents, final)
    assert torch.allclose(told[-1].denoised, final, atol=1e-5)
    recorder = Recorder(network)
    with pytest.raises(SamplingCancelled, match="Cancelled after step 2 of 5"):
        sample_audio(recorder, noise, plan, condition, on_step=lambda info: info.step < 1)
    assert len(recorder.calls) == 2
    for value in (None, True, 0):
        sample_audio(network, noise, plan, condition, on_step=lambda info, value=value: value)


def test_a_seed_decides_the_sound(network, condition):
    cpu, plan = torch.device("cpu"), AudioPlan(steps=2)
    made = [
        sample_audio(network, seeded_noise((2, 3, 24, 4), seed, cpu, torch.float32), plan, condition)
        for seed in (7, 7, 8)
    ]
    assert torch.equal(made[0], made[1]) and not torch.allclose(made[0], made[2], atol=0.1)


def test_the_network_runs_in_the_dtype_of_the_noise(network, noise, condition):
    recorder = Recorder(network.to(torch.bfloat16))
    found = sample_audio(recorder, noise.bfloat16(), AudioPlan(steps=2), condition)
    assert found.dtype == torch.bfloat16
    for x, t, asked in recorder.calls:
        assert {x.dtype, t.dtype, asked.visual.dtype, asked.text.dtype, asked.sync.dtype} == {torch.bfloat16}


@pytest.mark.parametrize("fields, fact", [
    ({"steps": 0}, "steps is 0"),
    ({"steps": 2.5}, "steps is 2.5"),
    ({"steps": True}, "steps is True"),
    ({"video_guidance": -1.0}, "video_guidance is -1.0"),
    ({"text_guidance": float("nan")}, "text_guidance is nan"),
    ({"text_guidance": "high"}, "text_guidance is 'high'"),
    ({"solver": "dopri5"}, "solver is 'dopri5'"),
    ({"time_shift": 0}, "time_shift is 0"),
    ({"time_shift": float("inf")}, "time_shift is inf"),
])  # fmt: skip
def test_a_bad_plan_is_refused(fields, fact):
    with refused(next(iter(fields)), "value", fact):
        AudioPlan(**fields)


class Broken(FakeNetwork):
    """A velocity of one value."""

    def __init__(self, value):
        self.value = value

    def __call__(self, x, t, condition):
        return torch.full_like(x, self.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_network_that_is_broken_stops_after_one_step(noise, condition, bad):
    recorder = Recorder(Broken(bad))
    with refused("dtype", "numerics"):
        sample_audio(recorder, noise, AudioPlan(), condition)
    assert len(recorder.calls) == 1


def test_an_untrained_network_stops_after_one_step(noise, condition):
    fresh = AudioNextDiT(CONFIG)
    torch.nn.init.zeros_(fresh.final_layer.linear.weight)
    torch.nn.init.zeros_(fresh.final_layer.linear.bias)
    with refused("checkpoint", "numerics"):
        sample_audio(fresh, noise, AudioPlan(), condition)


def test_sizes_that_do_not_fit_are_refused_before_any_step(network, noise, condition, negative, random):
    plan, recorder = AudioPlan(steps=1), Recorder(network)

    def check(*expected, x=noise, asked=condition, other=None):
        with refused(*expected):
            sample_audio(recorder, x, plan, asked, other)

    check("noise", "value", "5 axes", x=noise[None])
    check("condition", "mismatch", "2 clips", "3", x=random(3, 3, 24, 4))
    features, mask = negative
    check("negative_prompt", "value", "shape", other=(features, mask[:, :2]))
    check("negative_prompt", "value", "shape", other=(features[0], mask[0]))
    check("negative_prompt", "mismatch", "width 4", "5", other=(features[..., :4], mask))
    check("negative_prompt", "value", "mask", other=(features, torch.zeros_like(mask)))
    check("prompt", "value", "mask", asked=replace(condition, text_mask=torch.zeros_like(condition.text_mask)))
    assert recorder.calls == []
    # The network checks these.
    for x, facts in [(random(2, 4, 24, 4), ("4 channels", "3")), (random(2, 3, 60, 4), ("60", "2.4 s"))]:
        with pytest.raises(LuminaError) as caught:
            sample_audio(recorder, x, plan, condition)
        assert all(fact in str(caught.value) for fact in facts)


class Limited(Recorder):
    """A network on a device that holds so many samples at once."""

    def __init__(self, network, samples):
        super().__init__(network)
        self.samples = samples

    def __call__(self, x, t, condition):
        assert len(x) == len(t) == len(condition)
        found = super().__call__(x, t, condition)
        if len(x) > self.samples:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found


def test_a_batch_that_does_not_fit_runs_one_sample_at_a_time(network, noise, condition, negative):
    plan, limited = AudioPlan(steps=2), Limited(network, 1)
    found = sample_audio(limited, noise, plan, condition, negative)
    assert torch.allclose(found, sample_audio(network, noise, plan, condition, negative), atol=1e-3)
    assert [len(x) for x, *_ in limited.calls] == [6] + 12 * [1], "two clips, three passes, two steps"


def test_a_sample_that_does_not_fit_is_our_own_error(network, noise, condition):
    with pytest.raises(OutOfMemory, match="ran out of memory at 0.96 s of audio") as caught:
        sample_audio(Limited(network, 0), noise, AudioPlan(), condition)
    assert caught.value.kind == "resource"


def test_a_broken_attention_kernel_is_replaced_by_plain_attention(network, noise, condition, caplog):
    def broken(q, k, v, mask=None, **options):
        return plain_attention(q, k, v, mask, **options) * math.nan

    plan = AudioPlan(steps=2)
    found = sample_audio(network.with_attention(broken), noise, plan, condition)
    assert torch.equal(found, sample_audio(network.with_attention(plain_attention), noise, plan, condition))
    assert "trying plain attention" in caplog.text
