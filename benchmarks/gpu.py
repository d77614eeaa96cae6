"""Everything a GPU can say about the network, in one call of at most 8 minutes: `python benchmarks/gpu.py`.

Random weights of the released size in bf16, at 672x384 with 64 frames and 1248x704 with 96. Measured: the peak rate of
bf16 matrix products, every attention kernel at hand, seconds and memory of a network call at each patch size for one
item and for two (a guided step), eager and compiled, and the memory of a call whose blocks are streamed from RAM.
Computed from those by the presets' counts of evaluations: seconds of whole presets and of a draft, multi-scale over
single-scale, the share of the peak, and whether 24 GB and 12 GB are enough for the network.

Small things first; what does not fit into `--budget` seconds is left out and named. `--device cpu --tiny` runs every
line on a small network, as a check of the script: its figures say nothing. `--write docs/performance.md` puts the
sections there, with "not yet measured" for what was not. Last line: the figures as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from gpu_parts.budget import Budget  # noqa: E402 - found through the line above
from gpu_parts.figures import conclude  # noqa: E402
from gpu_parts.measure import Bench, Shape  # noqa: E402
from gpu_parts.report import compile_section, gpu_section  # noqa: E402
from performance import write_section  # noqa: E402

from lumina_core.network.compilation import BACKEND  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.sampling.presets import preset_clip  # noqa: E402
from lumina_core.shapes.latents import LatentSize  # noqa: E402

PRESETS = ("f16F64R512", "f24F96R960")
TINY = VideoConfig(dim=64, layers=2, heads=4, kv_heads=2, ffn_hidden=96, text_dim=48, cond_dim=32)
TINY_SIZES = (LatentSize(4, 8, 12), LatentSize(4, 16, 12))
BUDGET = 480.0


def shapes(tiny: bool) -> tuple[Shape, ...]:
    """The clips, small first; ``tiny`` gives each a size that a CPU is done with at once."""
    sizes = TINY_SIZES if tiny else tuple(preset_clip(name).size.latent() for name in PRESETS)
    return tuple(Shape(name, size) for name, size in zip(PRESETS, sizes, strict=True))


def measure_all(bench: Bench, clips: tuple[Shape, ...], budget: Budget, backend: str) -> dict:
    """All measurements, cheap and needed ones first."""
    result = {"matmul": bench.matmul_peak(), "attention": bench.attention(clips[0])}
    result["eager"] = [row for clip in clips for row in bench.calls(clip, budget, "eager")]
    result["streamed"] = [bench.streamed(clip, budget) for clip in clips]
    result["compile_note"] = bench.compile(clips[0], budget, backend)
    compiled = result["compile_note"] is None
    result["compiled"] = [row for clip in clips for row in bench.calls(clip, budget, "compiled")] if compiled else []
    return result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu with --tiny")
    parser.add_argument("--tiny", action="store_true", help="a small network: a check of this script, no measurement")
    parser.add_argument("--budget", type=float, default=BUDGET, help=f"seconds of the whole call (default {BUDGET:g})")
    parser.add_argument("--backend", default=BACKEND, help="of torch.compile; eager for a quick check")
    parser.add_argument("--write", type=Path, help="put the sections into this document")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        parser.exit(1, "No CUDA GPU is at hand, and this measures one; run it where there is one, or check the script "
                    "with --device cpu --tiny.\n")  # fmt: skip
    if not given.device.startswith("cuda") and not given.tiny:
        parser.exit(1, f"The released size is measured on a GPU, and --device is {given.device}; add --tiny.\n")
    return given


@torch.inference_mode()
def main() -> None:
    given = parse_arguments()
    budget = Budget(given.budget)
    bench = Bench(TINY if given.tiny else VideoConfig(), torch.device(given.device), torch.bfloat16)
    clips = shapes(given.tiny)
    result = measure_all(bench, clips, budget, given.backend)
    result |= {"device": bench.name, "tiny": given.tiny, "skipped": budget.skipped, "seconds": budget.used()}
    result["figures"] = conclude(result, clips, bench.weight_bytes)
    shown = {} if given.tiny else result
    texts = {"gpu": gpu_section(shown, given.device), "compile": compile_section(shown, given.device)}
    print("\n\n".join(texts.values()))
    if given.tiny:
        print("This was a check of the script on a small network, so the tables above stay empty.")
    for name, text in texts.items():
        if given.write:
            write_section(given.write, name, text)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
