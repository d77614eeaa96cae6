"""Peak memory of one forward pass beyond the weights, ours beside the official network: same weights, same inputs.

    python benchmarks/memory.py --official PATH_OF_A_CHECKOUT_OF_LUMINA-VIDEO
    python benchmarks/memory.py --official PATH --device cuda --dtype bf16

Needs torch and the checkout. Each row is one size of latents and batch. `counted` is the most bytes of tensors alive at
once (benchmarks/live_bytes.py), which the allocator's habits do not touch. `measured` is what the machine says: on a
processor the growth of resident memory in a process of its own, which also holds the scratch of the matmuls; on CUDA
the allocator's peak. Ratios are ours / official, from one run; other processes do not change them. Prints a table,
what is alive at the peak of each side and, as the last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.forward import DTYPES, build_pair, make_calls  # noqa: E402
from benchmarks.live_bytes import LiveBytes  # noqa: E402
from benchmarks.performance import section, write_section  # noqa: E402
from benchmarks.tables.sections import prose, table  # noqa: E402
from lumina_core import PatchSize  # noqa: E402
from lumina_core.shapes.latents import LatentSize  # noqa: E402

TARGET, TARGET_PATCH = 0.6, "1x2"
SIDES = ("ours", "official")
LATENTS = ((8, 32, 48), (16, 32, 64))
MIB = 2**20
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, help="checkout of Alpha-VLLM/Lumina-Video")
    parser.add_argument("--dim", type=int, default=512, help="token width (default %(default)s)")
    parser.add_argument("--layers", type=int, default=6, help="blocks (default %(default)s)")
    parser.add_argument("--heads", type=int, default=8, help="query heads (default %(default)s)")
    parser.add_argument("--gqa", action="store_true", help="half as many key/value heads as query heads, as released")
    parser.add_argument("--text", type=int, default=128, help="text tokens (default %(default)s)")
    parser.add_argument("--patches", nargs="+", default=[TARGET_PATCH], help="such as 1x2 2x2 2x4 (default 1x2)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="(default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the result into this document, too")
    parser.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)
    return parser.parse_args()


def call_of(args: argparse.Namespace, pair, case: dict, side: str) -> Callable[[], torch.Tensor]:
    sized = argparse.Namespace(**{**vars(args), "latent": tuple(case["latent"]), "batch": case["batch"]})
    frames, space = (int(number) for number in case["patch"].split("x"))
    return make_calls(sized, case["batch"], *pair, PatchSize(frames, space))[side]


def counted(call: Callable[[], torch.Tensor]) -> LiveBytes:
    """Also counts the tensor that comes back."""
    with LiveBytes() as live:
        call()
    return live


def measured(args: argparse.Namespace, pair, case: dict, side: str) -> int:
    """Bytes by the machine's own account: CUDA's allocator here, resident memory in a fresh process."""
    if args.device != "cpu":
        return allocated(call_of(args, pair, case, side))
    options = [f"--{name}={getattr(args, name)}" for name in ("dim", "layers", "heads", "text", "threads", "dtype")]
    command = [sys.executable, __file__, f"--official={args.official}", *options, *["--gqa"] * args.gqa]
    command += ["--one", json.dumps({**case, "side": side})]
    # Else glibc keeps freed blocks of a size that it raises as it goes, which blurs the peak.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return int(done.stdout.split()[-1])


def allocated(call: Callable[[], torch.Tensor]) -> int:
    """Peak bytes of one call on CUDA beyond what was there; a first call leaves what kernels keep for good."""
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def resident(args: argparse.Namespace, case: dict) -> int:
    """Growth of this process's resident memory by one call, at its peak. Linux only."""
    pair = build_pair(args)
    small = {"latent": (2, 4, 4), "batch": 1, "patch": case["patch"]}
    # Once small: threads and kernels set themselves up.
    call_of(args, pair, small, case["side"])()
    call = call_of(args, pair, case, case["side"])
    _RESET.write_text("5")
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name + ":")).split()[1]) * 1024


def row_of(args: argparse.Namespace, pair, case: dict) -> tuple[dict, dict[str, LiveBytes]]:
    lives = {side: counted(call_of(args, pair, case, side)) for side in SIDES}
    machine = {side: measured(args, pair, case, side) for side in SIDES}
    frames, space = (int(number) for number in case["patch"].split("x"))
    row = {**case, "tokens": LatentSize(*case["latent"]).tokens(PatchSize(frames, space))}
    for name, values in (("counted", {side: live.peak for side, live in lives.items()}), ("measured", machine)):
        row |= {f"{name}_{side}_mib": round(values[side] / MIB, 1) for side in SIDES}
        row[f"{name}_ratio"] = round(values["ours"] / values["official"], 3)
    return row, lives


def at_peak(lives: dict[str, LiveBytes], count: int = 3) -> list[str]:
    """The largest tensors of each side's peak, equal ones as one line."""
    lines = []
    for side, live in lives.items():
        groups: dict[str, int] = {}
        for made in live.at_peak:
            key = str(replace(made, line=made.line.split(":")[0]))
            groups[key] = groups.get(key, 0) + 1
        lines += [f"{side}: {times} x {what}" for what, times in list(groups.items())[:count]]
    return lines


def text_of(args: argparse.Namespace, rows: list[dict]) -> str:
    how = "resident memory" if args.device == "cpu" else "the allocator's peak"
    head = ["latents", "batch", "patch", "tokens"]
    head += ["counted: ours", "official", "ratio", f"{how}: ours", "official", "ratio"]
    cells = [
        ["x".join(map(str, row["latent"])), str(row["batch"]), row["patch"], str(row["tokens"])]
        + [
            f"{row[key]:.3f}" if "ratio" in key else f"{row[key]:.1f} MiB"
            for key in row
            if key.startswith(("counted", "measured"))
        ]
        for row in rows
    ]
    said = prose(
        f"Beyond the weights, {args.dtype}, width {args.dim}, {args.layers} blocks. `counted` "
        f"is the most bytes of tensors alive at once, the columns behind it {how}. Wanted: at most {TARGET} of the "
        f"official code's at {TARGET_PATCH}: {'met' if met(rows) else 'not met'}."
    )
    options = f"--device {args.device} --dtype {args.dtype} --threads {args.threads}"
    command = f"python benchmarks/memory.py --official DIR {options}"
    return section("memory", said, table(head, cells), command=command, device=args.device)


def met(rows: list[dict]) -> bool:
    ratios = [row[f"{kind}_ratio"] for row in rows if row["patch"] == TARGET_PATCH for kind in ("counted", "measured")]
    return bool(ratios) and max(ratios) <= TARGET


@torch.no_grad()
def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    if args.one:
        print(resident(args, json.loads(args.one)))
        return
    pair, rows, peaks = build_pair(args), [], []
    for latent in LATENTS:
        for batch in (1, 2):
            for patch in args.patches:
                row, lives = row_of(args, pair, {"latent": latent, "batch": batch, "patch": patch})
                rows.append(row)
                peaks = peaks or at_peak(lives)
    text = text_of(args, rows)
    print(text, "At the peak of the first row:", *peaks, sep="\n")
    if args.write:
        write_section(args.write, "memory", text)
    print(json.dumps({"benchmark": "memory", "rows": rows, "target": TARGET, "met": met(rows)}))


if __name__ == "__main__":
    main()
