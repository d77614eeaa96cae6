"""Training throughput: tokens per second, and what share of a stated peak that is.

    python benchmarks/train_throughput.py --size 2b --peak 989      one H100 or H200, dense bf16
    python benchmarks/train_throughput.py --size tiny               anywhere
Times whole steps as the trainer does them (forward, backward, clipping, AdamW) on random latents of one clip size, the
text encoder left out. FLOPs are those of matrix products, from cost/flops.py: a forward pass three times (once
forward, twice backward), four times with --checkpointing, where each block's forward pass is computed again. Prints a
table and, as the last line, the same figures as JSON; seconds are the median of --steps steps after --warmup more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.utils.checkpoint import checkpoint

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lumina_core import LatentSize, MultiScaleNextDiT, PatchSize, VideoSize  # noqa: E402
from lumina_core.cost.flops import forward_cost  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.runtime.devices import pick_device  # noqa: E402
from lumina_core.shapes.schedules import parse_patch  # noqa: E402
from lumina_core.train.objective import item_losses, noised  # noqa: E402
from lumina_core.train.recipe import Optimizer  # noqa: E402

RELEASED = VideoConfig()
SIZES = {
    "2b": RELEASED,
    "mini": replace(
        RELEASED, channels=6, dim=320, layers=6, heads=10, kv_heads=5, ffn_hidden=768, text_dim=128, cond_dim=192
    ),
    "tiny": replace(RELEASED, dim=64, layers=2, heads=2, kv_heads=1, ffn_hidden=128, text_dim=48, cond_dim=32),
}
CLIPS = {"2b": VideoSize(448, 256, 64), "mini": VideoSize(64, 64, 32), "tiny": VideoSize(64, 64, 16)}


@dataclass(frozen=True)
class Work:
    """One step's work on one device."""

    config: VideoConfig
    patch: PatchSize
    latent: LatentSize
    batch: int
    text: int
    precision: str
    checkpointing: bool
    device: torch.device

    @property
    def tokens(self) -> int:
        return self.batch * self.latent.tokens(self.patch)

    @property
    def flops(self) -> int:
        """FLOPs of a step."""
        forward = forward_cost(self.config, self.latent, self.patch, self.text).total
        return self.batch * forward * (4 if self.checkpointing else 3)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny", help="network (default %(default)s)")
    parser.add_argument("--patch", nargs="+", default=["1x2", "2x2", "2x4"], help="patch sizes (default: all three)")
    parser.add_argument("--clip", type=int, nargs=3, metavar=("WIDTH", "HEIGHT", "FRAMES"),
                        help="pixels and frames (default: 448 256 64 for 2b)")  # fmt: skip
    parser.add_argument("--batch", type=int, default=1, help="clips of a step (default %(default)s)")
    parser.add_argument("--text", type=int, default=200, help="text tokens (default %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="default %(default)s")
    parser.add_argument("--checkpointing", action="store_true", help="compute each block twice to save memory")
    parser.add_argument("--steps", type=int, default=10, help="timed steps (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="the device's peak; without it no share is told")
    return parser.parse_args()


class Steps:
    """A network in training on made-up clips; ``run`` does one step."""

    def __init__(self, config: VideoConfig, device: torch.device, checkpointing: bool):
        self.device = device
        with torch.device(device):
            self.network = MultiScaleNextDiT(config)
        self.network.pad_token.requires_grad_(False)
        if checkpointing:
            for layer in self.network.layers:
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        settings = Optimizer()
        self.clip = settings.grad_clip
        self.optimizer = torch.optim.AdamW(self.trained, settings.learning_rate, settings.betas, settings.eps)

    def run(self, work: Work) -> None:
        draw = partial(torch.randn, device=self.device)
        data, noise = (draw(work.batch, *work.latent.shape(work.config.channels)) for _ in range(2))
        t = torch.rand(work.batch, device=self.device)
        text, motion = draw(work.batch, work.text, work.config.text_dim), torch.ones(work.batch, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=work.precision == "bf16"):
            velocity = self.network(noised(data, noise, t), t, text, None, motion, work.patch)
        sum(item_losses(velocity, data, noise)).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure(steps: Steps, work: Work, warmup: int, count: int) -> float:
    """Median seconds of a step."""
    seconds = []
    for index in range(warmup + count):
        start = time.perf_counter()
        steps.run(work)
        if index >= warmup:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def row(work: Work, seconds: float, peak: float | None) -> dict[str, object]:
    achieved = work.flops / seconds / 1e12
    return {
        "patch": str(work.patch),
        "tokens": work.tokens,
        "seconds": seconds,
        "tokens_per_second": work.tokens / seconds,
        "tflops": achieved,
        "share_of_peak": None if peak is None else achieved / peak,
    }


def main() -> None:
    arguments = parse_arguments()
    device = pick_device(arguments.device)
    config = SIZES[arguments.size]
    clip = VideoSize(*arguments.clip) if arguments.clip else CLIPS[arguments.size]
    steps = Steps(config, device, arguments.checkpointing)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    millions = sum(parameter.numel() for parameter in steps.network.parameters()) / 1e6
    print(f"{arguments.size}: {millions:.1f} M parameters, {clip.width}x{clip.height}, {clip.frames} frames, batch "
          f"{arguments.batch}, {arguments.precision}, checkpointing {arguments.checkpointing}, {name}")  # fmt: skip
    print(f"{'patch':>5} {'tokens':>8} {'s/step':>9} {'tokens/s':>10} {'TFLOPS':>8} {'of peak':>8}")
    rows = []
    for text in arguments.patch:
        work = Work(config, parse_patch(text).values[0], clip.latent(), arguments.batch, arguments.text,
                    arguments.precision, arguments.checkpointing, device)  # fmt: skip
        config.check_size(work.latent, [work.patch])
        found = row(work, measure(steps, work, arguments.warmup, arguments.steps), arguments.peak)
        rows.append(found)
        share = "-" if found["share_of_peak"] is None else f"{found['share_of_peak']:.1%}"
        print(f"{found['patch']:>5} {found['tokens']:>8} {found['seconds']:>9.4f} {found['tokens_per_second']:>10.0f} "
              f"{found['tflops']:>8.3f} {share:>8}")  # fmt: skip
    print(json.dumps({"size": arguments.size, "parameters_millions": millions, "device": name, "rows": rows,
                      "batch": arguments.batch, "precision": arguments.precision, "peak_tflops": arguments.peak,
                      "checkpointing": arguments.checkpointing}))  # fmt: skip


if __name__ == "__main__":
    main()
