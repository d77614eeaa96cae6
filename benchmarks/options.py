"""What the approximate options save and what they cost: `python -m benchmarks.options`.

The mini bundle makes clips of prompts that were never trained: exactly, and with each option from the same noise.
Time is CPU time of one thread.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.common.clip_comparison import EXACT, Option, coarser, compare
from benchmarks.common.harness import at_least, make_parser, run
from benchmarks.common.mini_clips import default_plan, load, network_of

TOLERANCES = (0.1, 0.2, 0.3, 0.4)


def measure(args: argparse.Namespace) -> dict:
    pipe = load(args.bundle)
    plan = default_plan(pipe)
    options = {EXACT: Option(plan, pipe)}
    options |= {f"step cache {t:g}": Option(plan.replace(cache=t), pipe) for t in args.tolerances}
    if not args.cache_only:
        for name in ("float8_e4m3fn", "float8_e5m2"):
            rounded = load(args.bundle)
            with network_of(rounded) as network:
                round_weights(network, getattr(torch, name))
            options[f"{name.replace('float8', 'fp8')} weights"] = Option(plan, rounded)
        options["switches at twice their t"] = Option(coarser(plan), pipe)
    return {"prompts": args.prompts, "preset": pipe.defaults.preset, "rows": compare(args.prompts, options)}


@torch.no_grad()
def round_weights(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Round all weights to ``dtype`` without scales, as the host stores them."""
    for parameter in network.parameters():
        parameter.copy_(parameter.to(dtype).to(parameter.dtype))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=at_least(2), default=33, help="clips of each option (default %(default)s)")
    parser.add_argument("--tolerances", type=float, nargs="*", default=TOLERANCES, help="of the step cache")
    parser.add_argument("--cache-only", action="store_true", help="leave out 8-bit weights and the coarser schedule")
    run("options", parser.parse_args(), measure)
