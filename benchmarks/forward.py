"""Our forward pass compared with the official one: same weights, inputs and threads, interleaved, outputs compared.

    python -m benchmarks.forward --official CHECKOUT_OF_LUMINA-VIDEO
    python -m benchmarks.forward --official CHECKOUT --device cuda --dtype bf16 --gqa --dim 2304 --layers 24 --heads 16

Each code runs in a process of its own. Ours is timed as a sampling run calls it from its second step on: text K/V,
pooled text and rotary tables are cached; the official code computes them in every call, and `ratio_recomputed` is ours
when it does, too. `ratio` is the median over quiet rounds of ours / official, `error` the largest difference of the
outputs over their root mean square. The memory of both is counted in tensors.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.common.harness import make_parser, progress, run
from benchmarks.common.official import load_official
from benchmarks.common.subprocess_timer import SubprocessCalls, others_beside
from benchmarks.common.tensor_memory import TensorMemory
from benchmarks.common.timing_rounds import TimingRounds
from lumina_core import MultiScaleNextDiT
from lumina_core.network import cpu_kernels
from lumina_core.network.config import VideoConfig
from lumina_core.shapes.latents import LatentSize

OURS, RECOMPUTED, OFFICIAL = "ours", "recomputed", "official"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Of the ratio, by patch size and batch size: at the default size, float32, two threads of a CPU.
TARGETS = {("1x2", 1): 0.95, ("2x2", 1): 0.88, ("2x4", 1): 0.80, ("1x2", 2): 0.80, ("2x2", 2): 0.80, ("2x4", 2): 0.80}


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, threads=2)
    parser.add_argument("--official", type=Path, required=True, help="checkout of Alpha-VLLM/Lumina-Video")
    parser.add_argument("--dim", type=int, default=512, help="token width (default %(default)s)")
    parser.add_argument("--layers", type=int, default=6, help="blocks (default %(default)s)")
    parser.add_argument("--heads", type=int, default=8, help="query heads (default %(default)s)")
    parser.add_argument("--gqa", action="store_true", help="half as many key/value heads as query heads, as released")
    parser.add_argument("--text", type=int, default=128, help="text tokens (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="(default %(default)s)")
    parser.add_argument("--latent", type=int, nargs=3, default=(8, 32, 48), metavar=("F", "H", "W"),
                        help="latent frames, height and width (default 8 32 48)")  # fmt: skip
    parser.add_argument("--batch", type=int, nargs="+", default=(1, 2), help="batch sizes (default 1 2)")
    parser.add_argument("--rounds", type=int, default=5, help="quiet rounds per row (default %(default)s)")
    parser.add_argument("--tries", type=int, default=15, help="rounds at most (default %(default)s)")
    return parser.parse_args()


def make_config(args: argparse.Namespace) -> VideoConfig:
    return VideoConfig(
        dim=args.dim,
        layers=args.layers,
        heads=args.heads,
        kv_heads=args.heads // 2 if args.gqa else args.heads,
        ffn_hidden=-(-int(8 * args.dim / 3) // 256) * 256,
        text_dim=args.dim,
        cond_dim=min(args.dim, 1024),
    )


def build_pair(args: argparse.Namespace) -> tuple[MultiScaleNextDiT, torch.nn.Module]:
    """Our network and the official one with the same seeded weights, none of them zero."""
    config = make_config(args)
    where = {"device": args.device, "dtype": DTYPES[args.dtype]}
    ours = MultiScaleNextDiT(config).eval().requires_grad_(False)
    official = load_official(args.official).MultiScaleNextDiT(
        all_patch_size=tuple(p.space for p in config.patches),
        all_f_patch_size=tuple(p.frames for p in config.patches),
        in_channels=config.channels,
        dim=config.dim,
        n_layers=config.layers,
        n_heads=config.heads,
        n_kv_heads=config.kv_heads,
        qk_norm=True,
        cap_feat_dim=config.text_dim,
        rope_theta=config.rope_theta,
        t_scale=config.t_scale,
        motion_scale=config.motion_scale,
    )
    generator = torch.Generator().manual_seed(0)
    for name, value in ours.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        value.copy_(noise * value.shape[-1] ** -0.5 if value.ndim > 1 else 0.1 * noise + ("norm" in name))
    official.load_state_dict(ours.state_dict(), strict=True)
    return ours.to(**where), official.eval().requires_grad_(False).to(**where)


def make_calls(args: argparse.Namespace, name: str) -> dict[tuple, Callable]:
    """Forward passes of one code by (name, patch size, batch), without arguments, each giving (B, C, F, H, W)."""
    torch.set_num_threads(args.threads)
    ours, official = build_pair(args)
    cpu_kernels.prepare_for_cpu(ours)  # as the pipeline does after loading
    return calls_of(args, name, ours, official)


def calls_of(args: argparse.Namespace, name: str, ours: MultiScaleNextDiT, official: torch.nn.Module) -> dict:
    """The same of a pair of networks; "ours" has text K/V cached, "recomputed" has not."""
    calls = {}
    for batch in args.batch:
        x, t, text, mask, motion = make_inputs(args, batch, ours.config)
        # Not made in the official code's process: it would change how that process reuses freed memory.
        context = None if name == OFFICIAL else ours.cache_text(text, mask)
        for patch in ours.config.patches:
            if name == OFFICIAL:
                calls[name, patch, batch] = partial(official_forward, official, x, t, text, mask, motion, patch)
            else:
                calls[OURS, patch, batch] = partial(ours, x, t, context, None, motion, patch)
                calls[RECOMPUTED, patch, batch] = partial(ours, x, t, text, mask, motion, patch)
    return calls


def make_inputs(args: argparse.Namespace, batch: int, config: VideoConfig) -> tuple[torch.Tensor, ...]:
    """The same for both: latents, times, text features, their mask, motion scores."""
    generator = torch.Generator().manual_seed(1)
    where = {"device": args.device, "dtype": DTYPES[args.dtype]}
    x = torch.randn(batch, config.channels, *args.latent, generator=generator).to(**where)
    text = torch.randn(batch, args.text, config.text_dim, generator=generator).to(**where)
    mask = torch.ones(batch, args.text, dtype=torch.bool, device=args.device)
    return x, torch.linspace(0.25, 0.5, batch).to(**where), text, mask, torch.full((batch,), 6.0).to(**where)


def official_forward(official, x, t, text, mask, motion, patch) -> torch.Tensor:
    # A list, because the official unpatchify of a tensor fails below 512 tokens in the batch.
    return torch.stack(official(list(x), t, text, mask, motion, patch.space, patch.frames))


def memory_of(args: argparse.Namespace) -> list[dict]:
    """Most bytes of tensors alive during a call beyond the weights, the result included; no allocator influences it."""
    pair, rows = build_pair(args), []
    calls = calls_of(args, OURS, *pair) | calls_of(args, OFFICIAL, *pair)
    for batch in args.batch:
        for patch in pair[0].config.patches:
            peaks = {}
            for name in (OURS, OFFICIAL):
                with TensorMemory() as memory:
                    calls[name, patch, batch]()
                peaks[name] = memory.peak / 2**20
            rows.append({
                "latent": "x".join(map(str, args.latent)), "patch": str(patch), "batch": batch,
                "tokens": LatentSize(*args.latent).tokens(patch), "ours_mib": peaks[OURS],
                "official_mib": peaks[OFFICIAL], "ratio": peaks[OURS] / peaks[OFFICIAL],
            })  # fmt: skip
    return rows


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict:
    load_official(args.official)  # exits with a sentence where the checkout is not one
    ours, official = SubprocessCalls(make_calls, args, OURS), SubprocessCalls(make_calls, args, OFFICIAL)
    sides = {OURS: ours, RECOMPUTED: ours, OFFICIAL: official}
    others = partial(others_beside, ours, official)
    timer, config, rows = TimingRounds(args.rounds, args.tries, 1.0, others=others), make_config(args), []
    for batch in args.batch:
        for patch in config.patches:
            found, expected = (sides[name].output((name, patch, batch)) for name in (OURS, OFFICIAL))
            timed = timer.time({name: partial(sides[name], (name, patch, batch)) for name in sides})
            rows.append({
                "patch": str(patch), "batch": batch, "tokens": LatentSize(*args.latent).tokens(patch),
                "ratio": timed.ratio(OURS, OFFICIAL), "target": TARGETS.get((str(patch), batch)),
                "ratio_recomputed": timed.ratio(RECOMPUTED, OFFICIAL),
                "error": ((found - expected).abs().max() / expected.pow(2).mean().sqrt()).item(),
                "ours_s": timed.median(OURS), "official_s": timed.median(OFFICIAL), **timed.fields(),
            })  # fmt: skip
            progress(f"{patch}, batch size {batch}: {rows[-1]['ratio']:.3f}")
    settings = {name: getattr(args, name) for name in ("dim", "layers", "heads", "gqa", "text", "dtype", "threads")}
    return {"rows": rows, "memory": memory_of(args), **settings, "latent": list(args.latent)}


if __name__ == "__main__":
    run("forward", parse_arguments(), measure)
