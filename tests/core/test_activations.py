"""The predicted activation memory is that of counted passes, and its peaks are those of the network."""

import pytest
import torch

from benchmarks import activations
from benchmarks.common.tensor_memory import TensorMemory
from lumina_core.cost.activations import PEAKS, forward_bytes
from lumina_core.network.config import VideoConfig
from lumina_core.shapes.latents import LatentSize
from lumina_core.shapes.schedules import PatchSize
from scripts import check_activation_peaks

SMALL = VideoConfig(dim=192, layers=2, heads=4, kv_heads=4, ffn_hidden=512, text_dim=128, cond_dim=192)
GROUPED = VideoConfig(dim=256, layers=1, heads=8, kv_heads=2, ffn_hidden=256, text_dim=320, cond_dim=64, qk_norm=False)
DEEP = VideoConfig(dim=128, layers=5, heads=4, kv_heads=2, ffn_hidden=768, text_dim=96, cond_dim=128)
CLIPS = (LatentSize(8, 16, 24), LatentSize(16, 48, 84), LatentSize(1, 32, 48))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(
    "config", [SMALL, GROUPED, DEEP, VideoConfig(layers=2)], ids=["mha", "gqa", "deep", "released"]
)
def test_the_formula_is_at_most_a_tenth_above_the_counted_peak(config, samples, dtype) -> None:
    for size in CLIPS:
        for patch in config.patches:
            counted = activations.count(config, size, patch, samples, dtype, TensorMemory()).peak
            predicted = forward_bytes(config, size.tokens(patch), samples, dtype.itemsize)
            assert counted <= predicted <= 1.1 * counted, (size, patch, predicted / counted)


@pytest.mark.parametrize("dtype_size", PEAKS)
def test_each_peak_is_a_moment_of_a_counted_pass_and_the_reverse(dtype_size) -> None:
    functions, counted = check_activation_peaks.by_function(dtype_size), check_activation_peaks.counted(dtype_size)
    assert [terms for terms in counted if terms not in functions.values()] == []
    assert [name for name, terms in functions.items() if terms not in counted] == []


def test_real_sizes_cost_the_count_no_memory() -> None:
    row = activations.compare(activations.SIZES[0], PatchSize(1, 2), 2)
    assert row["tokens"] == 82368
    assert 1 <= row["ratio"] <= 1.1
