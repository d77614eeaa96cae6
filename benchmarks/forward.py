"""Our forward pass beside the official one: same weights, inputs and threads, in turns, outputs compared.

    python benchmarks/forward.py --official PATH_OF_A_CHECKOUT_OF_LUMINA-VIDEO
    python benchmarks/forward.py --official PATH --device cuda --dtype bf16 --gqa --dim 2304 --layers 24 --heads 16
Needs torch and the checkout. Each code has a process of its own, as it has where somebody uses it. Ours is timed as a
sampling run calls it from its second step on: text keys and values, pooled text and rotary tables are there; the
official code makes them in every call, and `ratio_alone` is ours when it makes them, too. Each round times all in turn;
a round during which other processes used more than a tenth of a core (Linux) is left out. `ratio` is the median over
rounds of ours / official, `error` the greatest difference of the outputs over their root mean square. The last columns
say how near the arithmetic is: the seconds of the matrix products and attentions of our pass at the best rates measured
in the same run, over ours and over the official ones. Prints a table and, as the last line, the same figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.apart import Apart, others_beside  # noqa: E402
from benchmarks.load import Quiet, Timed  # noqa: E402
from benchmarks.official import load_official  # noqa: E402
from benchmarks.performance import section, write_section  # noqa: E402
from benchmarks.tables.sections import prose, table  # noqa: E402
from lumina_core import MultiScaleNextDiT  # noqa: E402
from lumina_core.cost.flops import ForwardCost, forward_cost  # noqa: E402
from lumina_core.network import cpu_kernels as cpu_layers  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.shapes.latents import LatentSize  # noqa: E402
from lumina_core.shapes.schedules import PatchSize  # noqa: E402

OURS, ALONE, OFFICIAL = "ours", "alone", "official"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TARGETS = {("1x2", 1): 0.95, ("2x2", 1): 0.88, ("2x4", 1): 0.80, ("1x2", 2): 0.80, ("2x2", 2): 0.80, ("2x4", 2): 0.80}
"""At the mid size, float32, two threads of a CPU."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, help="checkout of Alpha-VLLM/Lumina-Video")
    parser.add_argument("--dim", type=int, default=512, help="token width (default %(default)s)")
    parser.add_argument("--layers", type=int, default=6, help="blocks (default %(default)s)")
    parser.add_argument("--heads", type=int, default=8, help="query heads (default %(default)s)")
    parser.add_argument("--gqa", action="store_true", help="half as many key/value heads as query heads, as released")
    parser.add_argument("--text", type=int, default=128, help="text tokens (default %(default)s)")
    parser.add_argument("--latent", type=int, nargs=3, default=(8, 32, 48), metavar=("F", "H", "W"),
                        help="latent frames, height and width (default 8 32 48)")  # fmt: skip
    parser.add_argument("--batch", type=int, nargs="+", default=(1, 2), help="items per forward (default 1 2)")
    parser.add_argument("--rounds", type=int, default=5, help="quiet rounds per row (default %(default)s)")
    parser.add_argument("--tries", type=int, default=15, help="rounds before giving up (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each call in a round (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="(default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section into this document")
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
    """One code's forwards by (name, patch size, batch), without arguments, giving (B, C, F, H, W)."""
    torch.set_num_threads(args.threads)
    ours, official = build_pair(args)
    cpu_layers.prepare_for_cpu(ours)  # as the pipeline does with a network that it has read
    calls = {}
    for batch in args.batch:
        x, t, text, mask, motion = make_inputs(args, batch, ours.config)
        # Not where the official code runs: a run's context changes what becomes of freed memory.
        context = None if name == OFFICIAL else ours.cache_text(text, mask)
        for patch in ours.config.patches:
            if name == OFFICIAL:
                calls[name, patch, batch] = partial(official_forward, official, x, t, text, mask, motion, patch)
            else:
                calls[OURS, patch, batch] = partial(ours, x, t, context, None, motion, patch)
                calls[ALONE, patch, batch] = partial(ours, x, t, text, mask, motion, patch)
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


def rates(args: argparse.Namespace, config: VideoConfig, quiet: Quiet) -> tuple[float, float]:
    """FLOP/s of a wide matrix product, by the faster of torch's kernels, and of torch's attention over 2048 tokens."""
    where = {"device": args.device, "dtype": DTYPES[args.dtype]}
    tokens, heads = 2048, config.heads
    x, weight = torch.randn(tokens, config.dim, **where), torch.randn(config.ffn_hidden, config.dim, **where)
    q = torch.randn(1, heads, tokens, config.dim // heads, **where)
    products = {"torch's": partial(F.linear, x, weight)}
    if cpu_layers.HAS_ONEDNN and cpu_layers.plain_float32(x, weight):
        products["oneDNN's"] = partial(cpu_layers.linear, x, weight.t().contiguous().t(), None)
    timed = quiet.time({**products, "attention": lambda: F.scaled_dot_product_attention(q, q, q)})
    found = {name: 2 * tokens * config.dim * config.ffn_hidden / timed.best(name) for name in products}
    attention = 4 * tokens**2 * config.dim / timed.best("attention")
    told = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in found.items())
    print(f"GFLOP/s: matrix product {told}; attention {attention / 1e9:.0f}")
    return max(found.values()), attention


def floor_seconds(cost: ForwardCost, batch: int, product: float, attention: float) -> float:
    """What the arithmetic of a call of a run takes at these rates."""
    attended = cost.self_attention + cost.text_attention
    return batch * (attended / attention + (cost.total - attended - cost.text_projections) / product)


def row(patch: PatchSize, batch: int, timed: Timed, cost: ForwardCost, error: float, floor: float) -> dict:
    return {
        "patch": str(patch),
        "batch": batch,
        "tokens": cost.tokens,
        "ours_s": timed.median(OURS),
        "official_s": timed.median(OFFICIAL),
        "ratio": timed.ratio(OURS, OFFICIAL),
        "ratio_of_best": timed.ratio_of_best(OURS, OFFICIAL),
        "ratio_alone": timed.ratio(ALONE, OFFICIAL),
        "error": error,
        "floor_over_ours": floor / timed.best(OURS),
        "floor_over_official": floor / timed.best(OFFICIAL),
        **timed.fields(),
    }


def measure(args: argparse.Namespace, sides: dict[str, Apart], quiet: Quiet) -> list[dict]:
    config = make_config(args)
    product, attention = rates(args, config, quiet)
    print(f"{'patch':<7}{'batch':>6}{'tokens':>7}{'ours s':>9}{'official s':>12}{'ratio':>8}{'best':>7}{'alone':>7}"
          f"{'error':>9}{'kept':>7}{'floor/ours':>12}{'/official':>11}")  # fmt: skip
    rows = []
    for batch in args.batch:
        for patch in config.patches:
            found, expected = (sides[name].output((name, patch, batch)) for name in (OURS, OFFICIAL))
            error = ((found - expected).abs().max() / expected.pow(2).mean().sqrt()).item()
            timed = quiet.time({name: partial(sides[name], (name, patch, batch)) for name in sides})
            cost = forward_cost(config, LatentSize(*args.latent), patch, args.text)
            rows.append(r := row(patch, batch, timed, cost, error, floor_seconds(cost, batch, product, attention)))
            print(f"{r['patch']:<7}{batch:>6}{r['tokens']:>7}{r['ours_s']:>9.4f}{r['official_s']:>12.4f}"
                  f"{r['ratio']:>8.3f}{r['ratio_of_best']:>7.3f}{r['ratio_alone']:>7.3f}{error:>9.1e}"
                  f"{timed.kept:>4}/{len(timed.rounds)}{r['floor_over_ours']:>12.2f}{r['floor_over_official']:>11.2f}",
                  flush=True)  # fmt: skip
    return rows


def document(args: argparse.Namespace, rows: list[dict]) -> str:
    head = ["patch size", "batch", "tokens", "ours / official", "target", "ours, text anew", "difference",
            "arithmetic / ours", "arithmetic / official", "quiet rounds"]  # fmt: skip
    body = [
        [r["patch"], str(r["batch"]), str(r["tokens"]), f"{r['ratio']:.3f}", f"{TARGETS[r['patch'], r['batch']]:.2f}",
         f"{r['ratio_alone']:.3f}", f"{r['error']:.1e}", f"{r['floor_over_ours']:.2f}",
         f"{r['floor_over_official']:.2f}", f"{r['rounds_used']} of {r['rounds_used'] + r['rounds_noisy']}"]
        for r in rows
    ]  # fmt: skip
    about = prose(
        f"Width {args.dim}, {args.layers} layers, {args.heads} heads, {args.text} text tokens, latent "
        f"{'x'.join(map(str, args.latent))}, {args.dtype}, {args.threads} threads, each code in a process of its "
        "own; the official flash-attn calls go to torch's attention. Ours is timed as a run calls it from its second "
        "step on, with the text's keys and values at hand; \"text anew\" makes them in every call, as the official "
        "code does. Arithmetic: the matrix products and attentions of our pass at the best rates measured in the same "
        "run."
    )
    command = f"python benchmarks/forward.py --official CHECKOUT --rounds {args.rounds} --write docs/performance.md"
    return section("forward", about, table(head, body), command=command, device=args.device)


@torch.no_grad()
def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    load_official(args.official)  # says what is wrong with the checkout
    print(f"torch {torch.__version__}, {args.device}, {args.dtype}, {args.threads} threads")
    ours, official = Apart(make_calls, args, OURS), Apart(make_calls, args, OFFICIAL)
    wait = None if args.device == "cpu" else torch.cuda.synchronize
    quiet = Quiet(args.rounds, args.tries, args.seconds, wait, others=partial(others_beside, ours, official))
    rows = measure(args, {OURS: ours, ALONE: ours, OFFICIAL: official}, quiet)
    noisy = any(r["rounds_noisy"] and r["rounds_used"] == r["rounds_noisy"] for r in rows)
    if noisy:
        print("No round of a row was quiet, so it keeps them all; run again on a quiet machine before quoting it.")
    elif args.write:
        write_section(args.write, "forward", document(args, rows))
    print(json.dumps({"rows": rows, "gqa": args.gqa, "threads": args.threads}))


if __name__ == "__main__":
    main()
