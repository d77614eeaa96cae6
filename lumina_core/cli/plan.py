"""``plan``: what a schedule costs, before anything is loaded."""

from __future__ import annotations

import argparse
import json

from ..bundle import find_bundle
from ..checkpoint import read_video_config
from ..config import VideoConfig
from ..cost import REFERENCE, PlanCost, Segment, plan_cost
from ..errors import LuminaError
from ..plan import SamplingPlan
from ..shapes import VideoSize
from .models import add_bundle_option
from .options import add_plan_options, add_size_options, existing, plan_from, size_from, use_preset

NAME = "plan"
USAGE = "[flags]"
HELP = "Show what a schedule costs, per segment. Loads no model."
EXAMPLES = f"""examples:
  python -m lumina_core plan
  python -m lumina_core plan --bundle mini
  python -m lumina_core plan --preset f16F64R512-MultiScale --budget 0.3
  python -m lumina_core plan --width 640 --height 384 --frames 48 --patch '2x4 | 0.1: 1x2' --json

t is flow time: 0 noise, 1 video. Shares count floating-point operations of the network, text of 200 and 28 tokens.
A guided step takes two network passes. The total is relative to patch size {REFERENCE} throughout, guided alike."""
_HEADER = ("patch", "t", "steps", "tokens", "guided", "passes", "share")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="PATH", help="count for this network (default: the released one)")
    add_bundle_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_size_options(parser)
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    size = size_from(arguments)
    plan = plan_from(arguments, size, config)
    cost = plan_cost(plan, size.latent(), config)
    print(json.dumps(as_data(plan, size, cost)) if arguments.json else as_text(plan, size, cost))


def _config(arguments: argparse.Namespace) -> VideoConfig:
    """The network to count for; a bundle's preset becomes the default one."""
    if arguments.bundle is None:
        path = arguments.checkpoint
        return VideoConfig() if path is None else read_video_config(existing("--checkpoint", path))
    if arguments.checkpoint is not None:
        raise LuminaError("--bundle brings all models and --checkpoint names one; use only one of them.")
    bundle = find_bundle(arguments.bundle)
    use_preset(arguments, bundle.preset)
    return read_video_config(bundle.checkpoint)


def as_data(plan: SamplingPlan, size: VideoSize, cost: PlanCost) -> dict[str, object]:
    """The same as ``as_text``, for a script."""
    latent = size.latent()
    return {
        "width": size.width,
        "height": size.height,
        "frames": size.frames,
        "latent": [latent.frames, latent.height, latent.width],
        "plan": plan.as_dict(),
        "segments": [
            {
                "patch": str(s.patch),
                "t": [s.t_start, s.t_end],
                "first_step": s.first_step,
                "last_step": s.last_step,
                "steps": s.steps,
                "evaluations": s.evaluations,
                "passes": s.passes,
                "tokens": s.tokens,
                "guided": s.guided,
                "flops": s.flops,
                "share": s.share,
            }
            for s in cost.segments
        ],
        "flops": cost.flops,
        "relative_to_1x2": cost.relative,
        "nfe": cost.nfe,
        "passes": cost.passes,
    }


def as_text(plan: SamplingPlan, size: VideoSize, cost: PlanCost) -> str:
    """A table for people."""
    latent = size.latent()
    lines = [
        f"{size.width}x{size.height}, {size.frames} frames: latent {latent.frames}x{latent.height}x{latent.width}",
        *(f"{name.replace('_', ' '):16} {text}" for name, text in plan.as_dict().items()),
        "",
        *_table([_HEADER, *map(_row, cost.segments)]),
        "",
        f"total {cost.relative:.3f} of {REFERENCE} throughout, {_flops(cost.flops)}, "
        f"NFE {cost.nfe} ({cost.passes} network passes)",
    ]
    return "\n".join(lines)


def _row(segment: Segment) -> tuple[str, ...]:
    return (
        str(segment.patch),
        f"{segment.t_start:.4f} - {segment.t_end:.4f}",
        f"{segment.first_step} - {segment.last_step} ({segment.steps})",
        str(segment.tokens),
        "yes" if segment.guided else "no",
        str(segment.passes),
        f"{100 * segment.share:.1f} %",
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _flops(count: int) -> str:
    for power, unit in ((15, "PFLOP"), (12, "TFLOP"), (9, "GFLOP")):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return f"{count / 10**6:.3g} MFLOP"
