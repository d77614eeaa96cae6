"""Memory in the host: what it is told, what it then loads, weights that are streamed, and memory that runs out.

`--lowvram` and `--novram` cannot be given to a host without a GPU: both hosts refuse them beside `--cpu`, and on the
processor they load everything whatever the state is. So the proof is made inside the host's process, with its own
loading code: the checks set the state that those flags set, and tell the host that the processor is a GPU with little
free memory (see inside/memory.py).
"""

import pytest
from hosts import REPOSITORY

from lumina_core.checkpoints.video import read_video_config
from lumina_core.cost.activations import forward_bytes
from lumina_core.network.config import VideoConfig
from lumina_core.shapes.latents import LatentSize
from lumina_core.shapes.schedules import PatchSize
from scripts.make_tiny_set import MODEL_FOLDER, SOUND_MODEL

LATENT = LatentSize(4, 8, 8)
# Of the schedules that the checks run under, the costliest patch size.
COSTLIEST = {"None": (1, 2), "1x2": (1, 2), "2x2": (2, 2), "2x4": (2, 4), "2x4 | 0.5: 2x2": (2, 2)}
EXACT = 1e-5


@pytest.fixture(scope="session")
def report(worker, tiny_models) -> dict:
    checkpoint = tiny_models / MODEL_FOLDER / "consolidated.00-of-01.safetensors"
    counter = REPOSITORY / "benchmarks" / "common" / "tensor_memory.py"
    return worker("memory.py", checkpoint, tiny_models / SOUND_MODEL, counter)


@pytest.fixture
def config(tiny_models) -> VideoConfig:
    return read_video_config(tiny_models / MODEL_FOLDER)


def need(config: VideoConfig, patch: tuple[int, int], items: int) -> int:
    """One call, and the keys and values of 256 text tokens that the run keeps for each layer; float32."""
    text = config.layers * 256 * 2 * config.kv_heads * config.block.head_dim * 4
    return forward_bytes(config, LATENT.tokens(PatchSize(*patch)), items, 4) + items * text


@pytest.mark.parametrize("schedule", COSTLIEST)
def test_the_host_is_told_by_the_costliest_patch_size_of_the_schedule(report, config, schedule):
    """Once for two items and once for one before it loads, then for each call's batch."""
    told = report["told"][schedule]
    assert [shape[0] for shape, _ in told] == [2, 1, 2]
    assert [found for _, found in told] == [need(config, COSTLIEST[schedule], items) for items in (2, 1, 2)]


def test_outside_a_run_the_finest_patch_size_counts(report, config):
    assert report["told"]["of the patcher"] == need(config, (1, 2), 1)
    assert report["told"]["factor"] > 0


def test_without_a_fused_kernel_the_scores_of_attention_count_too(report, config):
    tokens = LATENT.tokens(PatchSize(1, 2))
    assert report["told"]["of no run"] - need(config, (1, 2), 1) == config.heads * tokens * tokens * 4


def test_what_the_host_is_told_is_what_a_call_holds(report):
    for row in report["counted"]:
        assert row["held"] <= row["told"] <= 1.25 * row["held"], row


def test_passes_are_batched_where_the_schedule_lets_them_fit(report):
    """On a device that holds one item of the finest patch size: the host decides by what it is told."""
    assert set(report["batches"]["2x4"]) == {2}
    assert set(report["batches"]["1x2"]) == {1}
    assert set(report["batches"]["2x4 | 0.5: 1x2"]) == {1}


def test_streamed_weights_give_the_same_result(report):
    plain, lora = report["partial"][:4], report["partial"][4:]
    for rows in (plain, lora):
        full, *partial = rows
        assert full["loaded"] == 1 and full["streamed"] == 0
        assert [row["streamed"] for row in partial] == sorted(row["streamed"] for row in partial)
        for row in partial:
            assert row["loaded"] <= row["share"] and row["streamed"] > 0
            assert row["error"] <= EXACT
    assert plain[0]["norm"] != lora[0]["norm"], "the LoRA does nothing"


def test_a_run_with_little_memory_streams_and_gives_the_same_latents(report):
    """In the states that the host enters by itself, with --lowvram and with --novram."""
    assert [row["state"] for row in report["capped"]] == ["NORMAL_VRAM", "LOW_VRAM", "NO_VRAM"]
    for row in report["capped"]:
        assert row["calls"] > 0 and row["norm"] > 0
        assert all(loaded <= row["cap"] < row["size"] for loaded in row["loaded"]), row
        assert row["error"] <= EXACT * row["norm"]
    assert min(report["capped"][0]["loaded"]) > 0.5 * report["capped"][0]["cap"], "the cap is made use of"


def test_a_coarser_schedule_leaves_more_weights_loaded(report):
    loaded = report["loaded_for"]
    assert loaded["1x2"] < 0.9
    assert loaded["2x2"] == loaded["2x4"] == 1


def test_out_of_memory_runs_the_rest_of_the_run_item_by_item(report):
    found = report["oom"]["1"]
    assert [size for size, _ in found["seen"]] == [2, 1, 1, 1, 1, 1, 1], "3 steps, tried at once in the first alone"
    assert [conds for size, conds in found["seen"] if size == 1] == [[1], [0]] * 3
    assert found["refusal"] is None and found["error"] <= EXACT
    (line,) = found["log"]
    assert "out of memory with 2 samples at once" in line
    assert found["kept"] == [True], "the model of the run stays loaded, the other one goes"


def test_the_next_run_begins_anew(report):
    found = report["oom"]["2"]
    assert [size for size, _ in found["seen"]] == [2, 2, 2]
    assert found["log"] == [] and found["error"] == 0
    assert sorted(found["kept"]) == [False, True], "nothing is unloaded where nothing ran out"


def test_out_of_memory_with_one_item_is_one_sentence(report):
    found = report["oom"]["0"]
    assert [size for size, _ in found["seen"]] == [2, 1]
    assert found["refusal"] == (
        "The network ran out of memory at 64x64 and 16 frames with patch size 1x2, one sample at a time; use fewer "
        "frames, a smaller size, a coarser patch schedule (2x2 or 2x4) or fp8 weights."
    )
    assert found["host_sees_oom"], "so that the host unloads its models, as it does on torch's own error"
    assert len(found["log"]) == 1


def test_a_device_without_bf16_computes_in_fp32_and_says_why(report):
    """Not in fp16, which the host would prefer there and which the network was not trained for."""
    chosen, asked = report["no_bf16"]["None"], report["no_bf16"]["torch.bfloat16"]
    assert (chosen["stored"], chosen["cast"]) == ("torch.float32", "None")
    assert (asked["stored"], asked["cast"]) == ("torch.bfloat16", "torch.float32")
    for found in (chosen, asked):
        assert found["log"] == [
            "Lumina-Video: running the model in fp32, which needs twice the memory, because this card has no bf16."
        ]
