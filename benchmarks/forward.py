"""Our forward pass beside the official one: same weights, inputs and threads, in turns, outputs compared.

    python benchmarks/forward.py --official PATH_OF_A_CHECKOUT_OF_LUMINA-VIDEO
Needs torch and the checkout. Each round times both, in the order A B or B A in turn, for half a second each. Where the
system tells (Linux), a round during which other processes used more than a tenth of a core is left out, because each of
torch's thread barriers then waits for them. Prints a table and, as the last line, the same figures as JSON; `ratio` is
the median over rounds of ours / official, `ratio_of_best` that of the shortest times.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.official import load_official  # noqa: E402
from lumina_core import MultiScaleNextDiT, PatchSize  # noqa: E402
from lumina_core.config import VideoConfig  # noqa: E402

OTHERS_LIMIT = 0.1
ROUND_SECONDS = 0.5
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Round:
    """Seconds of one forward of each, and cores used by other processes meanwhile (None where unknown)."""

    ours: float
    official: float
    others: float | None

    @property
    def quiet(self) -> bool:
        return self.others is None or self.others <= OTHERS_LIMIT


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
    parser.add_argument("--batch", type=int, default=1, help="items per forward (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds per patch size (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="(default %(default)s)")
    return parser.parse_args()


def build_pair(args: argparse.Namespace) -> tuple[MultiScaleNextDiT, torch.nn.Module]:
    """Our network and the official one with the same seeded weights, none of them zero."""
    kv_heads = args.heads // 2 if args.gqa else args.heads
    config = VideoConfig(
        dim=args.dim,
        layers=args.layers,
        heads=args.heads,
        kv_heads=kv_heads,
        ffn_hidden=-(-int(8 * args.dim / 3) // 256) * 256,
        text_dim=args.dim,
        cond_dim=min(args.dim, 1024),
    )
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


def make_calls(args: argparse.Namespace, ours, official, patch: PatchSize):
    """Two functions without arguments that run one forward of each on the same inputs, giving (B, C, F, H, W)."""
    generator = torch.Generator().manual_seed(1)
    where = {"device": args.device, "dtype": DTYPES[args.dtype]}
    x = torch.randn(args.batch, ours.config.channels, *args.latent, generator=generator).to(**where)
    text = torch.randn(args.batch, args.text, ours.config.text_dim, generator=generator).to(**where)
    mask = torch.ones(args.batch, args.text, dtype=torch.bool, device=args.device)
    t = torch.linspace(0.25, 0.5, args.batch).to(**where)
    motion = torch.full((args.batch,), 6.0).to(**where)

    def run_ours() -> torch.Tensor:
        return ours(x, t, text, mask, motion, patch)

    def run_official() -> torch.Tensor:
        # A list, because the official unpatchify of a tensor fails below 512 tokens in the batch.
        return torch.stack(official(list(x), t, text, mask, motion, patch.space, patch.frames))

    return run_ours, run_official


def measure(run_ours, run_official, rounds: int, device: str) -> list[Round]:
    measured = []
    # The system counts in hundredths of a second, too coarse for a round of a few forwards.
    repeats = math.ceil(ROUND_SECONDS / seconds(run_official, device, 1))
    for index in range(rounds):
        before, start = others_clock(), time.perf_counter()
        if index % 2:
            official, ours = seconds(run_official, device, repeats), seconds(run_ours, device, repeats)
        else:
            ours, official = seconds(run_ours, device, repeats), seconds(run_official, device, repeats)
        after, wall = others_clock(), time.perf_counter() - start
        measured.append(Round(ours, official, None if before is None else max(0.0, after - before) / wall))
    return measured


def seconds(run, device: str, repeats: int) -> float:
    """Mean seconds of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    if device != "cpu":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def others_clock() -> float | None:
    """CPU seconds that all processes but this one have used since the system started; None where it is not told."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - time.process_time()


def summary(patch: PatchSize, tokens: int, rounds: list[Round], error: float) -> dict:
    quiet = [r for r in rounds if r.quiet]
    used = quiet or rounds
    ours, official = ([getattr(r, side) for r in used] for side in ("ours", "official"))
    return {
        "patch": str(patch),
        "tokens": tokens,
        "ours_s": statistics.median(ours),
        "official_s": statistics.median(official),
        "ratio": statistics.median(r.ours / r.official for r in used),
        "ratio_of_best": min(ours) / min(official),
        "rounds_used": len(used),
        "rounds_noisy": len(rounds) - len(quiet),
        "others_cores": max((r.others for r in used if r.others is not None), default=None),
        "max_error_over_rms": error,
    }


@torch.no_grad()
def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    ours, official = build_pair(args)
    print(f"torch {torch.__version__}, {args.device}, {args.dtype}, {args.threads} threads, batch {args.batch}")
    print(f"{'patch':<7}{'tokens':>7}{'ours s':>9}{'official s':>12}{'ratio':>8}{'best':>7}{'noisy':>9}{'error':>10}")
    rows = []
    for patch in ours.config.patches:
        run_ours, run_official = make_calls(args, ours, official, patch)
        found, expected = run_ours(), run_official()
        error = ((found - expected).abs().max() / expected.float().pow(2).mean().sqrt()).item()
        rounds = measure(run_ours, run_official, args.rounds, args.device)
        frames, height, width = args.latent
        tokens = frames // patch.frames * (height // patch.space) * (width // patch.space)
        row = summary(patch, tokens, rounds, error)
        rows.append(row)
        noisy = f"{row['rounds_noisy']}/{len(rounds)}"
        print(f"{row['patch']:<7}{tokens:>7}{row['ours_s']:>9.4f}{row['official_s']:>12.4f}{row['ratio']:>8.3f}"
              f"{row['ratio_of_best']:>7.3f}{noisy:>9}{error:>10.1e}")  # fmt: skip
    if any(row["rounds_noisy"] == args.rounds for row in rows):
        print("Every round of a row was noisy, so it keeps them all; run again on a quiet machine before quoting it.")
    print(json.dumps({"forward": rows, "gqa": args.gqa, "batch": args.batch, "threads": args.threads}))


if __name__ == "__main__":
    main()
