"""The sampling loop: solvers, continuation, callbacks, batches, refusals, rounding."""

import itertools
import math

import golden
import pytest
import torch
from fake_network import FakeNetwork, WrappedNetwork
from refusals import refused

from lumina_core import PRESETS, LuminaError, PatchSize, SamplingCancelled, SamplingPlan, sample
from lumina_core.sampling.solvers import SOLVERS, SolverRun

MULTI = PRESETS["f24F96R960-MultiScale"].replace(points=12)


# Rounding grows with the guidance; this one keeps it well below what the tests allow.
MILD = MULTI.replace(guidance="4 | 0.2: 0")


def texts(random, lengths=(7, 4)):
    """A positive and a negative text of unequal length, the last token of the positive one hidden."""
    positive, negative = (random(1, length, 40) for length in lengths)
    mask = torch.ones(1, lengths[0], dtype=torch.bool)
    mask[:, -1] = False
    return (positive, mask), (negative, None)


class Linear(FakeNetwork):
    """Velocity x + cos t, whose flow is known: a stand-in for the network."""

    def __call__(self, x, t, text, text_mask, motion, patch):
        return x + torch.cos(t).view(-1, 1, 1, 1, 1)

    def exact(self, x, t=1.0):
        """Where x' = x + cos t arrives at t."""
        return (x + 0.5) * math.exp(t) + (math.sin(t) - math.cos(t)) / 2


@pytest.mark.parametrize(
    "solver, order, points", [("euler", 1, 33), ("midpoint", 2, 9), ("heun2", 2, 9), ("rk4", 4, 5)]
)
def test_solver_order(random, solver, order, points):
    """Halving the step divides the error by 2 to the order."""
    network, noise, text = Linear(), random(1, 2, 2, 4, 4).double(), (torch.ones(1, 1, 1), None)
    errors = []
    for n in (points, 2 * points - 1):
        plan = SamplingPlan(patch="1x2", points=n, solver=solver)
        errors.append((sample(network, noise, plan, text, text) - network.exact(noise)).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


ONE_STEP = [name for name, solver in SOLVERS.items() if not solver.memory]
REMEMBERING = [name for name, solver in SOLVERS.items() if solver.memory]


@pytest.mark.parametrize("solver", ONE_STEP)
@pytest.mark.parametrize("cut", [0, 1, 5, 11])
def test_continuing_equals_not_stopping(random, solver, cut):
    network, noise, both = golden.model("cfg2"), random(1, 16, 2, 4, 8), texts(random)
    plan = MULTI.replace(solver=solver)
    whole = sample(network, noise, plan, *both)
    draft = sample(network, noise, plan, *both, stop=cut)
    assert golden.error(sample(network, draft, plan, *both, start=cut), whole) <= 1e-5
    if cut == 0:
        assert torch.equal(draft, noise)


def where_segments_begin(plan):
    """Steps at which patch size, guidance or motion score change, and after which solvers forget."""
    segments = [evaluation.segment for evaluation in plan.evaluations()]
    return [step for step in range(1, plan.steps) if segments[step] != segments[step - 1]]


@pytest.mark.parametrize("solver", REMEMBERING)
def test_continuing_at_a_switch_equals_not_stopping(random, solver):
    """What a solver remembers ends at every switch, of patch size, guidance or motion score, and nowhere else."""
    network, noise, both = golden.model("cfg2"), random(1, 16, 2, 4, 8), texts(random)
    plan = MILD.replace(solver=solver, points=21, time_shift=4, guidance="4 | 0.3: 2 | 0.8: 0")
    plan = plan.replace(negative_motion="2 | 0.9: 6")
    whole, switches = sample(network, noise, plan, *both), where_segments_begin(plan)
    assert len(switches) == 4, "two of patch size, two of guidance; unguided, no negative score is asked for"
    same = []
    for cut in sorted({0, 1, 2, *switches, *(step - 1 for step in switches), plan.steps}):
        draft = sample(network, noise, plan, *both, stop=cut)
        if golden.error(sample(network, draft, plan, *both, start=cut), whole) <= 1e-6:
            same.append(cut)
    # dpmpp_2m gives no weight to t = 0, so it begins with two steps of Euler's anyway.
    assert same == [0, *([1] if solver == "dpmpp_2m" else []), *switches, plan.steps]


@pytest.mark.parametrize("solver", REMEMBERING)
def test_a_run_is_the_solver_on_each_segment(random, solver):
    """The sampler's own way of telling segments beside the solver run by hand, segment by segment."""
    network, noise, text = Linear(), random(1, 2, 2, 4, 4), (torch.ones(1, 1, 1), None)
    plan = SamplingPlan(patch="2x2 | 0.3: 1x2", points=13, solver=solver)
    state, edges = noise, [0, *where_segments_begin(plan), plan.steps]
    assert len(edges) == 3
    for begin, end in itertools.pairwise(edges):
        run = SolverRun(SOLVERS[solver])
        for t0, t1 in itertools.pairwise(plan.grid()[begin : end + 1]):
            state, _ = run.step(lambda t, x: x + torch.cos(t), state, t0, t1)
    assert golden.error(sample(network, noise, plan, text, text), state) <= 1e-6


def test_a_first_step_tried_again_leaves_nothing_behind(random):
    """On a kernel that gave NaN the first step is made once more; a solver that remembers it must not know of that."""

    class Broken(Linear):
        def __call__(self, x, *rest):
            return super().__call__(x, *rest) * math.nan

        def with_attention(self, attention):
            return Linear()

    noise, text = random(1, 2, 2, 4, 4), (torch.ones(1, 1, 1), None)
    plan = SamplingPlan(patch="1x2", points=9, solver="adams3")
    assert torch.equal(sample(Broken(), noise, plan, text, text), sample(Linear(), noise, plan, text, text))


def test_drafting_at_the_patch_switches(random):
    """Coarse steps once, then each finer segment from where the last one ended."""
    network, noise, both = golden.model("cfg2"), random(1, 16, 2, 4, 8), texts(random)
    recorder, state = golden.Recorder(network), noise
    switches = golden.switch_steps(MULTI)
    assert len(switches) == 2
    for start, stop in zip((0, *switches), (*switches, None), strict=True):
        state = sample(recorder, state, MULTI, *both, start=start, stop=stop)
    assert golden.error(state, sample(network, noise, MULTI, *both)) <= 1e-5
    assert [c["patch_key"] for c in recorder.calls] == [e.patch.key for e in MULTI.evaluations()]


def test_each_step_is_told(random):
    network, noise, both = golden.model("cfg2"), random(1, 16, 2, 4, 8), texts(random)
    told = []
    final = sample(network, noise, MULTI, *both, on_step=told.append)
    grid = MULTI.grid()
    assert [info.step for info in told] == list(range(11)) and {info.steps for info in told} == {11}
    assert [info.evaluation for info in told] == list(MULTI.evaluations())
    assert torch.equal(told[-1].latents, final)
    state = noise
    for info in told:
        velocity = (info.latents - state) / (grid[info.step + 1] - grid[info.step])
        estimate = state + (1 - grid[info.step]) * velocity
        assert torch.allclose(info.denoised, estimate, atol=2e-3)
        assert info.latents.dtype == info.denoised.dtype == torch.float32
        state = info.latents
    assert torch.allclose(told[-1].denoised, final, atol=1e-5)


def test_returning_false_cancels_and_nothing_else_does(random):
    network, both = golden.Recorder(golden.model("cfg2")), texts(random)
    noise = random(1, 16, 2, 4, 8)
    with pytest.raises(SamplingCancelled, match="Cancelled after step 3 of 11"):
        sample(network, noise, MULTI, *both, on_step=lambda info: info.step < 2)
    assert len(network.calls) == 3
    for value in (None, True, 0, ""):
        sample(network, noise, MULTI.replace(points=3), *both, on_step=lambda info, value=value: value)


def test_negative_pass_runs_only_where_guided(random):
    network = golden.Recorder(golden.model("cfg2"))
    sample(network, random(1, 16, 2, 4, 8), MULTI, *texts(random))
    expected = list(MULTI.evaluations())
    assert [c["n_items"] for c in network.calls] == [e.passes for e in expected]
    assert sum(c["n_items"] for c in network.calls) == sum(e.passes for e in expected) < 22


def test_without_guidance_the_negative_text_does_not_matter(random):
    network, noise = golden.model("cfg2"), random(1, 16, 2, 4, 8)
    positive, negative = texts(random)
    plan = MULTI.replace(guidance=0)
    other = (random(1, 9, 40), None)
    assert torch.equal(sample(network, noise, plan, positive, negative), sample(network, noise, plan, positive, other))


def test_no_motion_score_is_a_negative_score(random):
    network = golden.Recorder(golden.model("cfg2"))
    plan = MULTI.replace(motion="none | 0.2: 3", negative_motion=-1)
    sample(network, random(1, 16, 2, 4, 8), plan, *texts(random))
    assert network.calls[0]["motion_score"] == [-1.0, -1.0]
    assert network.calls[-1]["motion_score"] == [3.0]


# A forward pass of a batch multiplies larger matrices than one of a single sample, so float32 sums are added in another
# order: velocities differ by up to 4.4e-6 of their RMS in these networks. Guidance g = 4 adds 5 times the rounding of
# one velocity and 4 times that of the other, so 9 times as much. Only running each sample alone would avoid it, which
# gives up batches; pipelines do so by default.
BATCH_ROUNDING = 9 * 4.4e-6


def test_a_batch_equals_single_runs(random):
    network, noise = golden.model("cfg2"), random(2, 16, 2, 4, 8)
    positive, negative = random(2, 7, 40), random(2, 4, 40)
    mask = torch.tensor([[True] * 7, [True, False, True] + [False] * 4])
    together = sample(network, noise, MILD, (positive, mask), (negative, None))
    for i in range(2):
        row = slice(i, i + 1)
        shorter = positive[row, :3] if i else positive[row]
        alone = sample(network, noise[row], MILD, (shorter, mask[row, : shorter.shape[1]]), (negative[row], None))
        assert golden.error(together[row], alone) <= BATCH_ROUNDING


def test_one_text_serves_a_whole_batch(random):
    network, noise, both = golden.model("cfg2"), random(2, 16, 2, 4, 8), texts(random)
    together = sample(network, noise, MILD, *both)
    for i in range(2):
        assert golden.error(together[i : i + 1], sample(network, noise[i : i + 1], MILD, *both)) <= BATCH_ROUNDING


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_state_is_float32_and_calls_are_in_the_runs_dtype(random, dtype):
    """The official loop, written out: round x and t before each call and the guided velocity after it."""
    noise, both, seen = random(1, 16, 2, 4, 8).to(dtype), texts(random), []
    plan = MULTI.replace(guidance=3, renorm=1.5)

    class Sine(FakeNetwork):
        def __call__(self, x, t, text, text_mask, motion, patch):
            seen.append({x.dtype, t.dtype, text.dtype, motion.dtype})
            return torch.sin(
                3 * x.float() + t.float().view(-1, 1, 1, 1, 1) + text.float().mean((1, 2)).view(-1, 1, 1, 1, 1)
            )

    found = sample(Sine(), noise, plan, *both)
    assert found.dtype == dtype
    assert all(dtypes == {dtype} for dtypes in seen)

    grid, state = plan.grid(), noise.float()
    longest = both[0][0].shape[1]
    padded = torch.nn.functional.pad(both[1][0], (0, 0, 0, longest - both[1][0].shape[1]))
    means = [text.to(dtype).float().mean() for text in (both[0][0], padded)]
    for t0, t1 in zip(grid, grid[1:], strict=False):
        x, t = state.to(dtype).float(), t0.to(dtype).float()
        pos, neg = (torch.sin(3 * x + t + mean) for mean in means)
        guided = pos + 3 * (pos - neg)
        guided = guided * min(1.0, (1.5 * pos.norm() / guided.norm()).item())
        state = state + (t1 - t0) * guided.to(dtype).float()
    assert golden.error(found.float(), state.to(dtype).float()) <= 2 * torch.finfo(dtype).eps


def test_inputs_are_left_alone(random):
    noise, both = random(1, 16, 2, 4, 8), texts(random)
    copies = [tensor.clone() for tensor in (noise, both[0][0], both[0][1], both[1][0])]
    sample(golden.model("cfg2"), noise, MULTI, *both)
    assert all(torch.equal(a, b) for a, b in zip(copies, (noise, both[0][0], both[0][1], both[1][0]), strict=True))


def test_no_gradients_are_kept(random):
    noise = random(1, 16, 2, 4, 8).requires_grad_()
    assert not sample(golden.model("cfg2"), noise, MULTI.replace(points=2), *texts(random)).requires_grad


class Spoilt(FakeNetwork):
    """Spoils the network's answer and counts the calls."""

    def __init__(self, spoil):
        self.spoil, self.calls = spoil, 0

    def __call__(self, x, *_):
        self.calls += 1
        velocity = torch.linspace(-1, 1, x[0].numel()).view_as(x[0]).expand_as(x).clone()
        self.spoil(velocity)
        return velocity


def one_nan(velocity):
    velocity[0, 3, 1, 2, 2] = math.nan


def one_infinity(velocity):
    velocity[0, 3, 1, 2, 2] = math.inf


def constant_frame(velocity):
    velocity[:, :, 1] = 0.25


@pytest.mark.parametrize(
    "spoil, field",
    [
        (one_nan, "dtype"),
        (one_infinity, "dtype"),
        (constant_frame, "checkpoint"),
        (lambda v: v.zero_(), "checkpoint"),
    ],
)
def test_a_spoilt_first_step_stops_the_run(random, spoil, field):
    network, updates = Spoilt(spoil), []
    with refused(field, "numerics"):
        sample(network, random(1, 16, 2, 4, 8), MULTI, *texts(random), on_step=updates.append)
    # Where values are not finite, the call is repeated with plain attention.
    assert network.calls == (2 if field == "dtype" else 1) and updates == []


def test_a_constant_channel_is_no_constant_frame(random):
    def one_channel(velocity):
        velocity[:, 4] = 0.5

    sample(Spoilt(one_channel), random(1, 16, 2, 4, 8), MULTI.replace(points=3), *texts(random))


def refusal(network, noise, plan, positive, negative, **options):
    """The error that the run raises before the network runs."""
    recorder = golden.Recorder(network)
    with pytest.raises(LuminaError) as caught:
        sample(recorder, noise, plan, positive, negative, **options)
    assert recorder.calls == [], "the network ran before the refusal"
    return caught.value


@pytest.mark.parametrize("which", [0, 1], ids=["positive", "negative"])
def test_refused_before_the_first_step_text(random, which):
    network, noise = golden.model("cfg2"), random(2, 16, 2, 4, 8)

    def error(features, mask=None):
        both = list(texts(random))
        both[which] = (features, mask)
        return refusal(network, noise, MULTI, *both)

    name = ("positive", "negative")[which]
    wide = str(error(random(1, 7, 64)))
    assert "64" in wide and "40" in wide
    hidden = torch.tensor([[True, False], [False, False]])
    for given, facts in [((random(3, 7, 40),), ("(3, 7, 40)", "1 or 2")), ((random(7, 40),), ("(7, 40)",)),
                         ((random(2, 2, 40), hidden), ("mask",))]:  # fmt: skip
        found = error(*given)
        assert (found.field, found.kind) == (name, "value")
        assert all(fact in str(found) for fact in (name, *facts))


@pytest.mark.parametrize(
    "shape, plan, facts",
    [
        ((16, 2, 4, 8), MULTI, ["4 axes", "expected 5"]),
        ((1, 4, 2, 4, 8), MULTI, ["4 channels", "16"]),
        ((1, 16, 3, 4, 8), MULTI, ["2x4", "multiple of 8"]),
        ((1, 16, 2, 4, 10), MULTI, ["width is 80", "2x4", "multiple of 32"]),
        ((1, 16, 2, 6, 8), MULTI, ["height is 48", "2x4"]),
        ((1, 16, 2, 4, 8), MULTI.replace(patch="1x2 | 0.9: 4x4"), ["4x4", "checkpoint"]),
    ],
)
def test_refused_before_the_first_step_sizes(random, shape, plan, facts):
    """Also when only a late segment of the schedule does not fit."""
    message = str(refusal(golden.model("cfg2"), random(*shape), plan, *texts(random)))
    assert [fact for fact in facts if fact not in message] == [], message


@pytest.mark.parametrize("start, stop", [(-1, None), (0, 12), (5, 4), (12, None)])
def test_refused_before_the_first_step_range(random, start, stop):
    error = refusal(golden.model("cfg2"), random(1, 16, 2, 4, 8), MULTI, *texts(random), start=start, stop=stop)
    assert (error.field, error.kind) == ("start", "value")
    assert all(fact in str(error) for fact in (str(start), str(stop), "11"))


def test_an_image(random):
    network, noise = golden.Recorder(golden.model("cfg2")), random(1, 16, 1, 4, 8)
    assert sample(network, noise, MULTI, *texts(random)).shape == noise.shape
    assert {c["patch_key"] for c in network.calls} == {p.key for p in MULTI.patches}


def test_a_size_with_unequal_axes_keeps_them(random):
    noise = random(1, 16, 4, 8, 12)
    plan = SamplingPlan(patch=PatchSize(2, 4), points=3)
    assert sample(golden.model("cfg2"), noise, plan, *texts(random)).shape == noise.shape


def test_without_the_text_cache_the_latents_are_the_same(random):
    class Uncached(WrappedNetwork):
        def cache_text(self, text, text_mask):
            pytest.fail("the text cache is in use")

        def __call__(self, *arguments):
            return self.network(*arguments)

    network, noise, both = golden.model("cfg2"), random(1, 16, 2, 4, 8), texts(random)
    found = sample(Uncached(network), noise, MILD, *both, text_cache=False)
    assert golden.error(found, sample(network, noise, MILD, *both)) <= 1e-5
