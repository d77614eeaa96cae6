"""What the network is asked in the host is what the plan says: times, patch sizes, motion scores, number of passes."""

import json
from collections import Counter

import pytest
import torch
from reference import noise

from lumina_core import PRESETS, Evaluation, SamplingPlan, sample
from lumina_core.network.config import VideoConfig
from lumina_core.network.ops import TORCH_OPS
from lumina_core.sampling.denoiser import NO_MOTION
from lumina_core.sampling.solvers import SOLVERS
from scripts.make_tiny_set import MODEL_FOLDER

GRID_BOUND = 1e-2
"""On |t - official t| of the host's `simple` scheduler: its table of 1000 is 24 times as coarse at t = 1 with shift 24.

0.0068 is measured for the 960-class presets, 0.0034 for the 512-class ones, in the last of 69 steps.
"""
WEIGHTS = f"{MODEL_FOLDER}/consolidated.00-of-01.safetensors"
OPEN = {"patch": "2x2 | 0.4: 1x2", "guidance": "6 | 0.3: 0 | 0.6: 2", "motion": "none | 0.2: 3",
        "negative_motion": "4 | 0.5: none", "points": 12, "solver": "euler"}  # fmt: skip


def _fields(plan: SamplingPlan, **changes) -> dict:
    return plan.replace(**changes).as_dict()


CASES = {
    **{name: {"plan": _fields(plan)} for name, plan in PRESETS.items()},
    **{
        f"{solver}-{name}": {"plan": _fields(PRESETS[name], points=13, solver=solver)}
        for solver in SOLVERS
        for name in ("f24F96R960-MultiScale", "f16F64R512-MultiScale")
    },
    "bf16-f24": {"plan": _fields(PRESETS["f24F96R960-MultiScale"]), "dtype": "bfloat16"},
    "bf16-f16": {"plan": _fields(PRESETS["f16F64R512-MultiScale"]), "dtype": "bfloat16"},
    "bf16-rk4": {"plan": _fields(PRESETS["f16F64R512-MultiScale"], points=9, solver="rk4"), "dtype": "bfloat16"},
    "batch": {"plan": OPEN, "batch": 2},
    "batch, texts of one length": {"plan": OPEN, "batch": 2, "lengths": [6, 6]},
    "texts of one length": {"plan": OPEN, "lengths": [6, 6]},
}
DEFAULTS = {"dtype": "float32", "batch": 1, "lengths": [9, 5]}


@pytest.fixture(scope="session")
def report(worker, tiny_models, tmp_path_factory) -> dict:
    file = tmp_path_factory.mktemp("calls") / "cases.json"
    file.write_text(json.dumps([{**DEFAULTS, **case} for case in CASES.values()]), encoding="utf-8")
    return worker("sampling.py", tiny_models / WEIGHTS, file)


@pytest.fixture
def asked(report) -> dict:
    return dict(zip(CASES, report["asked"], strict=True))


def _items(calls: list[dict]) -> list[tuple]:
    """One (patch size, motion score, t) per item of the batch and pass, in order."""
    return [item for call in calls for item in zip(call["patch"], call["motion"], call["t"], strict=True)]


def _check(items: list[tuple], evaluation: Evaluation, batch: int, tolerance: float) -> None:
    """One evaluation's items, in any order, are the plan's: patch size and motion score exactly, t to `tolerance`."""
    scores = [evaluation.motion] + [evaluation.negative_motion] * evaluation.guided
    scores = [NO_MOTION if score is None else score for score in scores]
    expected = Counter((str(evaluation.patch), score) for score in scores * batch)
    assert Counter((patch, score) for patch, score, _ in items) == expected, evaluation
    assert all(abs(t - evaluation.t) <= tolerance for _, _, t in items), evaluation


@pytest.mark.parametrize("name", CASES)
def test_every_call_is_the_plans(asked, name):
    case = {**DEFAULTS, **CASES[name]}
    dtype = getattr(torch, case["dtype"])
    evaluations = list(SamplingPlan(**case["plan"]).evaluations(dtype))
    items = _items(asked[name])
    assert len(items) == case["batch"] * sum(evaluation.passes for evaluation in evaluations)
    # The host counts in sigma = 1 - t, which costs float32 its last digit; rounding to bf16 takes that away again.
    tolerance = 0.0 if dtype == torch.bfloat16 else 1.2e-7
    for evaluation in evaluations:
        count = case["batch"] * evaluation.passes
        now, items = items[:count], items[count:]
        _check(now, evaluation, case["batch"], tolerance)


def test_texts_of_one_length_share_a_call(asked):
    passes = [e.passes for e in SamplingPlan(**OPEN).evaluations()]
    assert [len(call["t"]) for call in asked["texts of one length"]] == passes
    assert [len(call["t"]) for call in asked["batch, texts of one length"]] == [2 * count for count in passes]


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("bf16")])
def test_bf16_network_sees_the_times_of_a_bf16_core_run(asked, name):
    plan = SamplingPlan(**CASES[name]["plan"])
    seen = []

    class Recorder:
        config, ops = VideoConfig(), TORCH_OPS

        def check_run(self, x, patches, texts):
            pass

        def cache_text(self, text, text_mask):
            return text

        def with_attention(self, attention):
            return self

        def __call__(self, x, t, *_):
            seen.append(float(t[0]))
            return x

    text = (torch.zeros(1, 3, 48), None)
    sample(Recorder(), noise().bfloat16(), plan, text, text)
    found = [t for _, _, t in _items(asked[name])]
    assert list(dict.fromkeys(found)) == list(dict.fromkeys(seen))
    assert set(seen) - set(plan.grid().tolist()), "nothing was rounded"


@pytest.mark.parametrize("name", PRESETS)
def test_ksampler_follows_the_schedules_at_its_own_times(report, name):
    plan, found = PRESETS[name], report["asked_by_ksampler"][name]
    items = _items(found["calls"])
    times = 1.0 - torch.tensor(found["sigmas"])
    assert len(times) == plan.points
    for step, t in enumerate(times[:-1].tolist()):
        evaluation = plan.at(t, step)
        now, items = items[: evaluation.passes], items[evaluation.passes :]
        _check(now, evaluation, 1, 0.0)
    assert items == []


def _asked(plan: SamplingPlan, t: torch.Tensor) -> tuple:
    now = plan.at(float(t))
    return now.patch, now.guidance, now.motion, now.negative_motion


@pytest.mark.parametrize("preset", PRESETS)
def test_simple_scheduler_stays_near_the_official_grid(report, preset):
    plan = PRESETS[preset]
    times = 1.0 - torch.tensor(report["asked_by_ksampler"][preset]["sigmas"])
    apart = (times - plan.grid()).abs()
    moved = sum(_asked(plan, a) != _asked(plan, b) for a, b in zip(times, plan.grid(), strict=True))
    print(f"\nKSampler simple, {preset}: |t - official| at most {apart.max():.2e} at step {int(apart.argmax())}, "
          f"steps with another patch size, guidance or motion score: {moved}")  # fmt: skip
    assert apart.max() <= GRID_BOUND
    assert moved == 0


def test_second_guidance_node_replaces_the_first(report):
    found = report["second_guidance"]
    assert found["replaced"] and found["renorm_removed"] and found["first_differs"]
    assert (found["hooks"], found["guider_replaces"]) == (1, 1)


def test_nodes_leave_their_input_as_it_was(report):
    found = report["original_untouched"]
    assert found.pop("clone_keeps_its_own") == "2x4 | 0.5: 1x2"
    assert found.pop("clone_of_a_clone") == "2x2"
    assert found == {"same_result": True, "patched_differs": True, "same_options": True, "no_hooks": True}
