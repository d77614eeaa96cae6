"""Attention kernels beside each other at the network's head shapes: `python benchmarks/attention.py`.

Every backend of torch that runs here, key and value heads shared by the kernel or repeated before it, and flash-attn 2
and 3 where they are installed: 16 query heads over 8 key/value heads, 144 wide, no mask, token counts by device
(`--tokens` for others). Timed in turns; ratio to torch's own choice with repeated heads, GFLOP/s by the arithmetic of
the two products, and the largest error over the rms of 64 queries computed in float64. What does not run is named with
the reason. `--write docs/performance.md` puts the table into its section. Last line: the figures as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from load import Quiet  # noqa: E402 - found through the line above
from performance import section, write_section  # noqa: E402
from tables.sections import prose, table  # noqa: E402

from lumina_core.network.attention import KERNELS, TORCH, choose_attention, plain_attention, repeat_heads  # noqa: E402
from lumina_core.runtime.devices import AUTO, DTYPES, pick_device, pick_dtype  # noqa: E402

HEADS, KV_HEADS, WIDTH = 16, 8, 144
TOKENS = {"cpu": (504, 2016), "cuda": (2016, 10296, 16128, 41184, 82368)}
BASE = "torch's choice, repeated"
BACKENDS = {
    "torch's choice": None,
    "math": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": getattr(SDPBackend, "CUDNN_ATTENTION", None),
}
SCORES_LIMIT = 8 * 2**30
"""Bytes of scores beyond which the math path is left out."""
CHECKED = 64
Call = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def candidates() -> dict[str, Call]:
    """Every kernel by name; each gives (B, L, heads * width)."""
    found: dict[str, Call] = {}
    for name, backend in BACKENDS.items():
        if backend is None and name != "torch's choice":
            continue
        for shared in (False, True):
            found[f"{name}, {'shared' if shared else 'repeated'}"] = partial(_by_torch, backend, shared)
    return found | {name: kernel for name, kernel in KERNELS.items() if name != TORCH}


def _by_torch(backend, shared: bool, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    options = {"enable_gqa": True} if shared else {}
    if not shared:
        k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    if backend is None:
        out = F.scaled_dot_product_attention(q, k, v, **options)
    else:
        with sdpa_kernel(backend):
            out = F.scaled_dot_product_attention(q, k, v, **options)
    return out.transpose(1, 2).flatten(2)


def why_not(name: str, call: Call, qkv: tuple[torch.Tensor, ...]) -> str | None:
    """The reason why a kernel does not run on these, None: it does."""
    scores = HEADS * qkv[0].shape[2] ** 2 * 4
    if name.startswith("math") and scores > SCORES_LIMIT:
        return f"would hold {scores / 2**30:.0f} GiB of scores"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(*qkv)
    except Exception as error:  # missing packages, missing kernels, unsupported shapes: torch raises nearly anything
        return str(error).splitlines()[0].split(". ")[0]
    return None


def error_of(call: Call, qkv: tuple[torch.Tensor, ...]) -> float:
    """max|found - exact| / rms(exact) of some queries, exact in float64."""
    q, k, v = qkv
    exact = plain_attention(q[:, :, :CHECKED].double(), k.double(), v.double())
    found = call(q, k, v)[:, :CHECKED].double()
    return ((found - exact).abs().max() / exact.pow(2).mean().sqrt()).item()


def measure(tokens: int, device: torch.device, dtype: torch.dtype, rounds: int, seconds: float) -> list[dict]:
    """One row for each kernel at so many tokens."""
    generator = torch.Generator(device).manual_seed(0)
    heads = (HEADS, KV_HEADS, KV_HEADS)
    # (B, L, heads, width) seen as (B, heads, L, width), as the network's are.
    made = [torch.randn(1, tokens, n, WIDTH, device=device, generator=generator) for n in heads]
    qkv = tuple(x.to(dtype).transpose(1, 2) for x in made)
    calls = candidates()
    skipped = {name: reason for name, call in calls.items() if (reason := why_not(name, call, qkv))}
    running = {name: partial(call, *qkv) for name, call in calls.items() if name not in skipped}
    wait = torch.cuda.synchronize if device.type == "cuda" else None
    timed = Quiet(rounds, 3 * rounds, seconds=seconds, wait=wait).time(running)
    work = 4 * tokens**2 * HEADS * WIDTH
    rows = [
        {"tokens": tokens, "kernel": name, "seconds": timed.median(name), "ratio": timed.ratio(name, BASE),
         "gflops": work / timed.median(name) / 1e9, "error": error_of(calls[name], qkv), **timed.fields()}
        for name in running
    ]  # fmt: skip
    return rows + [{"tokens": tokens, "kernel": name, "skipped": reason} for name, reason in skipped.items()]


def document(result: dict, command: str) -> str:
    """The section of the performance document."""
    rows = [
        [str(row["tokens"]), row["kernel"], f"{row['seconds'] * 1e3:.2f}", f"{row['ratio']:.2f}",
         f"{row['gflops']:,.0f}", f"{row['error']:.0e}", f"{row['rounds_used']}, {row['rounds_noisy']} noisy"]
        for row in result["rows"] if "skipped" not in row
    ]  # fmt: skip
    head = ["tokens", "kernel", "ms", "ratio", "GFLOP/s", "error", "rounds"]
    skipped: dict[str, list[str]] = {}
    for row in result["rows"]:
        if "skipped" in row and row["kernel"] not in skipped.setdefault(row["skipped"], []):
            skipped[row["skipped"]].append(row["kernel"])
    names = "; ".join(f"{', '.join(kernels)} ({reason})" for reason, kernels in skipped.items())
    text = (
        f"{HEADS} query heads over {KV_HEADS}, {WIDTH} wide, {result['dtype']}, threads: {result['threads']}, no mask. "
        f"Ratio of the time to {BASE}. The network uses: {result['chosen']}."
    )
    parts = [prose(text), table(head, rows)] + ([prose(f"Not run: {names}.")] if names else [])
    if any(row.get("rounds_used") == row.get("rounds_noisy") for row in result["rows"] if "skipped" not in row):
        parts.append(prose("Where every round was noisy, other work ran beside: no figures to quote."))
    if result["device"] == "cpu":
        parts.append(prose("On a GPU: not yet measured."))
    return section("attention", *parts, command=command, device=result["device"])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default=AUTO)
    parser.add_argument("--dtype", default=AUTO, help=f"{', '.join(DTYPES)} or auto")
    parser.add_argument("--tokens", type=int, nargs="+", help="token counts in place of the device's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each kernel in a round (default 0.5)")
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--write", type=Path, help="put the table into this document")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    given = parse_arguments()
    torch.set_num_threads(given.threads)
    device = pick_device(given.device)
    dtype = pick_dtype(given.dtype, device)
    chosen = choose_attention(device, dtype, WIDTH)
    rows = []
    for tokens in given.tokens or TOKENS.get(device.type, TOKENS["cpu"]):
        rows += measure(tokens, device, dtype, given.rounds, given.seconds)
    result = {
        "device": str(device), "dtype": str(dtype).removeprefix("torch."), "threads": given.threads,
        "chosen": "torch's attention" if chosen == TORCH else chosen, "rows": rows,
    }  # fmt: skip
    text = document(result, "python benchmarks/attention.py")
    print(text)
    if given.write:
        write_section(given.write, "attention", text)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
