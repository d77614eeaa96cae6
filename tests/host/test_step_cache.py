"""The step cache in the host does what the core's does, keeps nothing, and the host's own ways to save time work."""

import json

import pytest

from lumina_core import SamplingPlan
from scripts.make_tiny_set import MODEL_FOLDER

WEIGHTS = f"{MODEL_FOLDER}/consolidated.00-of-01.safetensors"
PLAN = SamplingPlan(
    patch="2x4 | 0.2: 2x2 | 0.5: 1x2", guidance="3 | 0.8: 0", motion=6, negative_motion="2 | 0.35: 6", renorm=2,
    time_shift=2, points=41, cache=0.6,
)  # fmt: skip


@pytest.fixture(scope="module")
def report(worker, tiny_models, tmp_path_factory) -> dict:
    user = tmp_path_factory.mktemp("user")
    return worker("step_cache.py", tiny_models / WEIGHTS, user, json.dumps(PLAN.as_dict()))


def test_host_calls_the_network_when_the_core_does(report):
    steps = report["steps"]
    assert steps["exact"] == list(range(PLAN.steps))
    assert len(steps["core"]) <= PLAN.steps - 10, "too few are reused for a test"
    assert steps["host"] == steps["core"]


def test_host_latents_are_the_cores_and_not_the_exact_ones(report):
    assert report["error"] <= 1e-4
    assert report["exact_error"] >= 10 * report["error"]


def test_a_run_leaves_nothing_behind(report):
    assert report["again"]
    assert report["kept"] == []


def test_timings_of_a_run_with_reuse_are_not_remembered(report):
    assert report["timings"] == [1, 1]


def test_tolerance_0_is_off_and_a_second_node_replaces_the_first(report):
    assert report["off"] and report["replaced"]


@pytest.mark.parametrize("name", ["dpmpp_2m", "euler_ancestral"])
def test_other_samplers_reuse_too(report, name):
    found = report["samplers"][name]
    assert found["calls"][1] < found["calls"][0]
    assert found["finite"]


@pytest.mark.parametrize("name", ["heun", "rk4"])
def test_it_stands_aside_where_a_step_has_several_evaluations(report, name):
    found = report["samplers"][name]
    assert found["calls"][0] == found["calls"][1] and found["same"]


def test_the_hosts_easycache_runs_on_our_model(report):
    assert report["easycache"]["steps"] < PLAN.steps
    assert report["easycache"]["finite"]


def test_another_kind_of_model_is_refused(report):
    assert report["refused"] == (
        "The model is of type Linear; connect the MODEL of Load Lumina-Video Model or Load Lumina-Next Model to "
        "Lumina-Video Step Cache."
    )


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_fp8_weights_are_a_plain_cast_of_every_parameter(report, dtype):
    found = report["fp8"][dtype]
    assert found["dtypes"] == [f"torch.{dtype}"]
    assert found["same"] and found["finite"]


def test_an_attention_override_of_another_node_is_used(report):
    assert report["override"]["calls"] > PLAN.steps
    assert report["override"]["same"]
