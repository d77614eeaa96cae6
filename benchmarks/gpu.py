"""The network on a GPU, in a few minutes: `python -m benchmarks.gpu`.

Random weights of the released size in bf16, at 672x384 with 64 frames and 1248x704 with 96. Measured: the peak rate of
bf16 matrix products, every attention kernel that is installed, and seconds and memory of a forward pass at each patch
size for one sample and two (a guided step), eager and compiled. Computed from those by the presets' counts of
evaluations: seconds of whole presets, multi-scale over single-scale, and the share of the matmul peak.

`--device cpu --tiny` runs every line on a small network, as a check of the script: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.common.comparison import target
from benchmarks.common.harness import make_parser, progress, run
from lumina_core.cost.flops import TYPICAL_TEXT, forward_cost
from lumina_core.network.attention import KERNELS, choose_attention
from lumina_core.network.compilation import BACKEND, compile_blocks
from lumina_core.network.config import VideoConfig
from lumina_core.network.video import MultiScaleNextDiT
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.sampling.presets import PRESETS, preset_clip
from lumina_core.shapes.latents import LatentSize
from lumina_core.shapes.schedules import PatchSize

# Multi-scale over single-scale seconds of each preset.
RATIO_TARGETS = {"f16F64R512": 0.36, "f24F96R960": 0.30}
SHARE_TARGET, CARD_GB = 0.60, 24
DRAFT_PRESET, DRAFT_TARGET = "f16F64R512", 4.0
ROUNDS = 3
TINY = VideoConfig(dim=64, layers=2, heads=4, kv_heads=2, ffn_hidden=96, text_dim=48, cond_dim=32)
TINY_SIZES = (LatentSize(4, 8, 12), LatentSize(4, 16, 12))
# Patch size and batch size of one forward pass.
Call = tuple[str, int]


class GpuBench:
    """A network with random weights on a device, and measurements of it."""

    def __init__(self, config: VideoConfig, device: torch.device):
        self.config, self.cuda = config, device.type == "cuda"
        generator = torch.Generator(device).manual_seed(0)
        self.random = partial(torch.randn, device=device, dtype=torch.bfloat16, generator=generator)
        self.network = MultiScaleNextDiT(config, device=device, dtype=torch.bfloat16).eval().requires_grad_(False)
        for parameter in self.network.parameters():
            # Norms keep their scale of 1; all others are as small as trained weights.
            if parameter.ndim != 1:
                parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=generator)

    def matmul_peak(self) -> float:
        """The best rate of square matrix products in bf16, FLOP/s."""
        rates = []
        for side in (4096, 8192, 16384) if self.cuda else (128, 256):
            a, b = self.random(side, side), self.random(side, side)
            rates.append(2 * side**3 / min(self.seconds(lambda a=a, b=b: a @ b, rounds=10)))
        return max(rates)

    def attention(self, size: LatentSize) -> list[dict]:
        """Rate of every kernel at the finest patch size and whether the network uses it; or why it does not run."""
        block, tokens = self.config.block, size.tokens(self.config.patches[0])
        q, k, v = (self.random(1, tokens, n, block.head_dim).transpose(1, 2)
                   for n in (block.heads, block.kv_heads, block.kv_heads))  # fmt: skip
        rows, chosen = [], choose_attention(q.device, q.dtype, block.head_dim)
        for name, kernel in KERNELS.items():
            try:
                seconds = statistics.median(self.seconds(lambda kernel=kernel: kernel(q, k, v, None)))
                rate = 4 * tokens**2 * self.config.dim / seconds / 1e12
                rows.append({"kernel": name, "tokens": tokens, "tflops": rate, "used": name == chosen})
            except Exception as error:  # not installed, or not for this device: any error of its own
                rows.append({"kernel": name, "reason": str(error).splitlines()[0]})
        return rows

    def passes(self, preset: str, size: LatentSize, kind: str, network: Callable, peak: float) -> list[dict]:
        """A row for each patch size, coarse first, and batch size 1 and 2: a prompt, and a shorter negative prompt."""
        rows = []
        for patch in reversed(self.config.patches):
            for batch in (1, 2):
                lengths = (TYPICAL_TEXT.positive, TYPICAL_TEXT.negative)[:batch]
                flops = sum(forward_cost(self.config, size, patch, length).total for length in lengths)
                seconds, memory = self._measure(self._call(network, size, patch, lengths))
                rows.append({
                    "preset": preset, "clip": size_of(preset), "kind": kind, "patch": str(patch), "batch": batch,
                    "seconds": seconds, "tflops": flops / seconds / 1e12, "share": flops / seconds / peak,
                    "peak_gb": memory,
                })  # fmt: skip
            progress(f"{kind} {patch}, {size_of(preset)}")
        return rows

    def seconds(self, call: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
        """Of each round, after one call more."""
        call()
        found = []
        for _ in range(rounds):
            self._synchronize()
            start = time.perf_counter()
            call()
            self._synchronize()
            found.append(time.perf_counter() - start)
        return found

    def _call(self, network: Callable, size: LatentSize, patch: PatchSize, lengths: tuple[int, ...]) -> Callable:
        """A pass as the sampler runs it from its second step on: the text K/V are cached."""
        batch, longest = len(lengths), max(lengths)
        x = self.random(batch, *size.shape(self.config.channels))
        mask = torch.arange(longest, device=x.device) < torch.tensor(lengths, device=x.device)[:, None]
        text = self.network.cache_text(self.random(batch, longest, self.config.text_dim), mask)
        t, motion = x.new_full((batch,), 0.2), x.new_full((batch,), 6.0)
        return lambda: network(x, t, text, None, motion, patch)

    def _measure(self, call: Callable[[], object]) -> tuple[float, float | None]:
        """Median seconds, and GB at the peak."""
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        seconds = statistics.median(self.seconds(call))
        return seconds, torch.cuda.max_memory_allocated() / 1e9 if self.cuda else None

    def _synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


def size_of(preset: str) -> str:
    size = preset_clip(preset).size
    return f"{size.width}x{size.height}, {size.frames} frames"


def calls_of(plan: SamplingPlan) -> Counter[Call]:
    """How often a bf16 run of a plan calls the network with what."""
    return Counter((str(e.patch), e.passes) for e in plan.evaluations(torch.bfloat16))


def targets(rows: list[dict]) -> list[dict]:
    """Rows of the table of targets, from the measured forward passes."""
    found = []
    for preset, kind in dict.fromkeys((row["preset"], row["kind"]) for row in rows):
        own = {(row["patch"], row["batch"]): row for row in rows if (row["preset"], row["kind"]) == (preset, kind)}

        def seconds(plan: SamplingPlan, own: dict = own) -> float:
            return sum(number * own[call]["seconds"] for call, number in calls_of(plan).items())

        name, single = f"{size_of(preset)}, {kind}", PRESETS[preset]
        ratio = seconds(PRESETS[f"{preset}-MultiScale"]) / seconds(single)
        found.append(target(f"multi-scale over single-scale, {name}", ratio, RATIO_TARGETS[preset], maximum=True))
        share = min(own["1x2", batch]["share"] for batch in (1, 2))
        found.append(target(f"share of the matmul peak at 1x2, {name}", share, SHARE_TARGET))
        if preset == DRAFT_PRESET:
            draft = seconds(single.replace(patch="2x4"))
            found.append(target(f"seconds of a 2x4 draft, {name}", draft, DRAFT_TARGET, maximum=True))
        memory = [row["peak_gb"] for row in own.values() if row["peak_gb"] is not None]
        if memory:
            found.append(target(f"GB at the peak, {name}", max(memory), CARD_GB, maximum=True))
    return found


@torch.inference_mode()
def measure(args: argparse.Namespace) -> dict:
    bench = GpuBench(TINY if args.tiny else VideoConfig(), torch.device(args.device))
    sizes = TINY_SIZES if args.tiny else [preset_clip(name).size.latent() for name in RATIO_TARGETS]
    peak, rows, messages = bench.matmul_peak(), [], []
    attention = bench.attention(sizes[0])
    compiled = compile_blocks(bench.network, torch.device(args.device), backend=args.backend, report=messages.append)
    for kind, network in (("eager", bench.network), ("compiled", compiled)):
        for preset, size in zip(RATIO_TARGETS, sizes, strict=True):
            if not messages:
                rows += bench.passes(preset, size, kind, network, peak)
    return {"targets": targets(rows), "calls": rows, "attention": attention, "matmul_flops": peak,
            "messages": messages, "tiny": args.tiny}  # fmt: skip


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu with --tiny (default %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="a small network: a check of this script, no measurement")
    parser.add_argument("--backend", default=BACKEND, help="of torch.compile; eager for a quick check")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        parser.exit(1, "torch finds no CUDA GPU; use a machine with one, or try --device cpu --tiny.\n")
    run("gpu", given, measure)
