"""What the approximate options save and what they cost: `python benchmarks/options.py`.

The mini bundle makes clips of prompts that were never trained: exactly, and with each option from the same noise.
Time is CPU time of one thread.
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common.clip_comparison import EXACT, Option, coarser, compare  # noqa: E402
from benchmarks.common.harness import at_least, make_parser, run  # noqa: E402
from benchmarks.common.mini_clips import load  # noqa: E402

TOLERANCES = (0.1, 0.2, 0.3, 0.4)


def measure(args: argparse.Namespace) -> dict:
    mini = load(args.bundle)
    plan = mini.default
    options = {EXACT: Option(plan, mini.model)}
    options |= {f"step cache {t:g}": Option(plan.replace(cache=t), mini.model) for t in args.tolerances}
    if not args.cache_only:
        for name in ("float8_e4m3fn", "float8_e5m2"):
            rounded = rounded_weights(mini.model, getattr(torch, name))
            options[f"{name.replace('float8', 'fp8')} weights"] = Option(plan, rounded)
        options["switches at twice their t"] = Option(coarser(plan), mini.model)
    return {"prompts": args.prompts, "preset": mini.bundle.preset, "rows": compare(mini, args.prompts, options)}


def rounded_weights(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """A copy whose weights were rounded to ``dtype`` without scales, as the host stores them."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype).to(parameter.dtype))
    return model


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=at_least(2), default=33, help="clips of each option (default %(default)s)")
    parser.add_argument("--tolerances", type=float, nargs="*", default=TOLERANCES, help="of the step cache")
    parser.add_argument("--cache-only", action="store_true", help="leave out 8-bit weights and the coarser schedule")
    run("options", parser.parse_args(), measure)
