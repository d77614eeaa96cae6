"""Counts the activation memory of a forward pass and compares it with the formula: `python -m benchmarks.activations`.

The formula is that of `lumina_core/cost/activations.py`. Forward passes run on
the meta device, at any size in no time: a tensor's bytes count from the operator that makes it until nothing references
it. Attention counts as a flash kernel (its result and one element per row, no score matrix) and RMSNorm as one kernel,
as on a GPU. Workspace inside a kernel and what an allocator rounds up are not counted.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.overrides import TorchFunctionMode

from benchmarks.common.harness import make_parser, run
from benchmarks.common.tensor_memory import TensorMemory
from lumina_core.cost.activations import forward_bytes
from lumina_core.network.config import VideoConfig
from lumina_core.network.video import MultiScaleNextDiT
from lumina_core.shapes.latents import LatentSize, VideoSize
from lumina_core.shapes.schedules import PatchSize
from lumina_core.text.gemma import MAX_TOKENS

GIB = 2**30
SIZES = (VideoSize(1248, 704, 96), VideoSize(672, 384, 64))


class Kernels(TorchFunctionMode):
    """Attention and RMSNorm allocate what a GPU's kernels do: the result, and a float32 element per row."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, value = args[0], args[2]
            batch, heads, length, _ = query.shape
            rows = query.new_empty((batch, heads, length), dtype=torch.float32)
            # Laid out so that (batch, length, heads * width) is a view of it.
            out = query.new_empty((batch, length, heads, value.shape[-1])).transpose(1, 2)
            del rows
            return out
        if func in (torch.nn.functional.rms_norm, torch.rms_norm):
            rows = args[0].new_empty(args[0].shape[:-1], dtype=torch.float32)
            out = torch.empty_like(args[0])
            del rows
            return out
        return func(*args, **kwargs)


def count(
    config: VideoConfig, size: LatentSize, patch: PatchSize, batch: int, dtype: torch.dtype, live: TensorMemory,
    text_tokens: int = MAX_TOKENS,
) -> TensorMemory:  # fmt: skip
    """Run one pass of ``batch`` samples inside ``live``; latents, text and weights do not count."""
    with torch.device("meta"):
        model = MultiScaleNextDiT(config, dtype=dtype).requires_grad_(False)
        x = torch.empty((batch, *size.shape(config.channels)), dtype=dtype)
        text = torch.empty((batch, text_tokens, config.text_dim), dtype=dtype)
        scalars = torch.empty((batch,), dtype=dtype)
        with torch.no_grad(), Kernels(), live:
            model(x, scalars, text, None, scalars, patch)
    return live


def compare(size: VideoSize, patch: PatchSize, batch: int) -> dict[str, object]:
    """One row: a forward pass of the released network in bf16, counted and by the formula."""
    config = VideoConfig()
    latent = size.latent()
    # Blocks run one after another and keep nothing: two hold as much as 24.
    counted = count(replace(config, layers=2), latent, patch, batch, torch.bfloat16, TensorMemory()).peak
    by_formula = forward_bytes(config, latent.tokens(patch), batch, 2)
    return {
        "size": f"{size.width}x{size.height}x{size.frames}", "patch": str(patch), "batch": batch,
        "tokens": latent.tokens(patch), "counted_gib": counted / GIB, "formula_gib": by_formula / GIB,
        "ratio": by_formula / counted,
    }  # fmt: skip


def measure(_) -> dict:
    return {
        "rows": [compare(size, patch, batch) for size in SIZES for patch in VideoConfig().patches for batch in (1, 2)]
    }


if __name__ == "__main__":
    run("activations", make_parser(__doc__).parse_args(), measure)
