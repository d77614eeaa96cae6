"""Training throughput: tokens per second, and their share of a given peak.

    python -m benchmarks.train_throughput --size 2b --peak 989      one H100 or H200, dense bf16
    python -m benchmarks.train_throughput --size tiny               anywhere

Times whole steps as the trainer runs them (forward, backward, clipping, AdamW) on random latents of one clip size, the
text encoder left out. FLOPs are those of matrix products, from cost/flops.py: a forward pass three times (once
forward, twice backward), four times with --checkpointing, where each block's forward pass is recomputed. Seconds are
the median of --steps steps after --warmup more.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from benchmarks.common.harness import make_parser, progress, run
from lumina_core import LatentSize, MultiScaleNextDiT, PatchSize, VideoSize
from lumina_core.cost.flops import forward_cost
from lumina_core.network.config import VideoConfig
from lumina_core.runtime.devices import pick_device
from lumina_core.sampling.noise import noised
from lumina_core.shapes.schedules import parse_patch
from lumina_core.train.objective import sample_losses
from lumina_core.train.settings import Optimizer

RELEASED = VideoConfig()
SIZES = {
    "2b": RELEASED,
    "mini": replace(
        RELEASED, channels=6, dim=320, layers=6, heads=10, kv_heads=5, ffn_hidden=768, text_dim=128, cond_dim=192
    ),
    "tiny": replace(RELEASED, dim=64, layers=2, heads=2, kv_heads=1, ffn_hidden=128, text_dim=48, cond_dim=32),
}
CLIPS = {"2b": VideoSize(448, 256, 64), "mini": VideoSize(64, 64, 32), "tiny": VideoSize(64, 64, 16)}


class Steps:
    """A network in training on random clips; calling it with a patch size runs one step."""

    def __init__(self, args: argparse.Namespace, latent: LatentSize):
        self.args, self.latent, self.device = args, latent, pick_device(args.device)
        with torch.device(self.device):
            self.network = MultiScaleNextDiT(SIZES[args.size])
        self.network.pad_token.requires_grad_(False)
        if args.checkpointing:
            for layer in self.network.layers:
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        settings = Optimizer()
        self.clip = settings.grad_clip
        self.optimizer = torch.optim.AdamW(self.trained, settings.learning_rate, settings.betas, settings.eps)

    def __call__(self, patch: PatchSize) -> None:
        draw, batch, config = partial(torch.randn, device=self.device), self.args.batch, self.network.config
        data, noise = (draw(batch, *self.latent.shape(config.channels)) for _ in range(2))
        t = torch.rand(batch, device=self.device)
        text, motion = draw(batch, self.args.text, config.text_dim), torch.ones(batch, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.args.precision == "bf16"):
            velocity = self.network(noised(data, noise, t), t, text, None, motion, patch)
        sum(sample_losses(velocity, data, noise)).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def flops(self, patch: PatchSize) -> int:
        """FLOPs of a step."""
        forward = forward_cost(self.network.config, self.latent, patch, self.args.text).total
        return self.args.batch * forward * (4 if self.args.checkpointing else 3)


def measure(args: argparse.Namespace) -> dict:
    clip = VideoSize(*args.clip) if args.clip else CLIPS[args.size]
    steps, rows = Steps(args, clip.latent()), []
    for text in args.patch:
        patch, seconds = parse_patch(text).values[0], []
        SIZES[args.size].check_size(clip.latent(), [patch])
        for _ in range(args.warmup + args.steps):
            start = time.perf_counter()
            steps(patch)
            seconds.append(time.perf_counter() - start)
        median, tokens = statistics.median(seconds[args.warmup :]), args.batch * clip.latent().tokens(patch)
        rate = steps.flops(patch) / median / 1e12
        rows.append({
            "patch": str(patch), "tokens": tokens, "seconds": median, "tokens_per_second": tokens / median,
            "tflops": rate, "share_of_peak": None if args.peak is None else rate / args.peak,
        })  # fmt: skip
        progress(f"patch size {text}")
    settings = {name: getattr(args, name) for name in ("size", "batch", "precision", "peak", "checkpointing")}
    parameters = sum(parameter.numel() for parameter in steps.network.parameters()) / 1e6
    return {**settings, "clip": [clip.width, clip.height, clip.frames], "parameters_m": parameters, "rows": rows}


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--size", choices=SIZES, default="tiny", help="network (default %(default)s)")
    parser.add_argument("--patch", nargs="+", default=["1x2", "2x2", "2x4"], help="patch sizes (default: all three)")
    parser.add_argument("--clip", type=int, nargs=3, metavar=("WIDTH", "HEIGHT", "FRAMES"), help="(default: by --size)")
    parser.add_argument("--batch", type=int, default=1, help="clips per step (default %(default)s)")
    parser.add_argument("--text", type=int, default=200, help="text tokens (default %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="(default %(default)s)")
    parser.add_argument("--checkpointing", action="store_true", help="recompute each block to save memory")
    parser.add_argument("--steps", type=int, default=10, help="timed steps (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="the device's peak; without it no share is given")
    run("train_throughput", parser.parse_args(), measure)
