"""What Context Drop saves and what it costs: `python -m benchmarks.context_drop`.

Computed: FLOPs of a forward pass of the released network at t = 0 and of whole released schedules. Measured: the
mini bundle's clips of prompts that were never trained, exactly and with each setting from the same noise. Time is CPU
time of one thread.
"""

from __future__ import annotations

import argparse

from benchmarks.common.clip_comparison import EXACT, Option, compare
from benchmarks.common.harness import at_least, make_parser, run
from benchmarks.common.mini_clips import default_plan, load
from lumina_core.cost.flops import REFERENCE, TYPICAL_TEXT, forward_cost, plan_cost
from lumina_core.network.config import VideoConfig
from lumina_core.sampling.presets import PRESETS, preset_clip
from lumina_core.sampling.step_cache import RECOMMENDED as TOLERANCE

LARGE, SMALL = "f24F96R960", "f16F64R512"
# Flow times up to which layers drop, and the one that is also measured together with the step cache.
SETTINGS, WITH_CACHE = (0.1, 0.2, 0.3, 1.0), 0.1


def measure(args: argparse.Namespace) -> dict:
    pipe = load(args.bundle)
    default = default_plan(pipe)
    plans = {EXACT: default} | {f"up to {t:g}": default.replace(context_drop=t) for t in SETTINGS}
    both = default.replace(context_drop=WITH_CACHE, cache=TOLERANCE)
    plans[f"up to {WITH_CACHE:g}, step cache {TOLERANCE:g}"] = both
    options = {name: Option(plan, pipe) for name, plan in plans.items()}
    return {
        "passes": passes(),
        "schedules": schedules(),
        "prompts": args.prompts,
        "rows": compare(args.prompts, options),
    }


def passes() -> list[dict]:
    """FLOPs of a forward pass with every layer dropping over those of a plain one, at 1x2 of both released sizes."""
    rows = []
    for name in (LARGE, SMALL):
        size, config = preset_clip(name).size, VideoConfig()
        plain, pooled = (
            forward_cost(config, size.latent(), REFERENCE, TYPICAL_TEXT.positive, layers).total
            for layers in (0, config.layers)
        )
        rows.append({"size": f"{size.width}x{size.height}x{size.frames}", "flops": pooled / plain})
    return rows


def schedules() -> list[dict]:
    """FLOPs of each released schedule with every setting over those without; fields t01, t02, t03 and t1."""
    rows = []
    for name in (LARGE, f"{LARGE}-MultiScale", SMALL, f"{SMALL}-MultiScale"):
        size, config = preset_clip(name).size.latent(), VideoConfig()
        plain = plan_cost(PRESETS[name], size, config).flops
        shares = {t: plan_cost(PRESETS[name].replace(context_drop=t), size, config).flops / plain for t in SETTINGS}
        rows.append({"schedule": name} | {f"t{t:g}".replace(".", ""): share for t, share in shares.items()})
    return rows


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=at_least(2), default=32, help="clips of each setting (default %(default)s)")
    run("context_drop", parser.parse_args(), measure)
