"""``plan``: what a schedule costs and what it holds in memory, before anything is loaded."""

from __future__ import annotations

import argparse
import json
import math

from ..checkpoints.video import read_video_config
from ..cost.flops import REFERENCE, PlanCost, Segment, plan_cost
from ..cost.memory import GIB, MemoryPlan, RunSpec, memory_plan
from ..cost.memory_advice import CARD_RESERVE, advice, in_gib
from ..errors import LuminaError
from ..network.config import VideoConfig
from ..pipelines.bundle import find_bundle
from ..runtime.devices import DTYPES
from ..sampling.plan import SamplingPlan
from ..sampling.presets import preset_clip
from ..shapes.latents import VideoSize
from ..shapes.resolutions import area_sizes
from .models import add_bundle_option
from .options import add_plan_options, add_size_options, existing, number, plan_from, preset_name, size_from, use_preset

NAME = "plan"
USAGE = "[flags]"
HELP = "Show what a schedule costs, per segment, and what memory it takes. Loads no model."
EXAMPLES = f"""examples:
  python -m lumina_core plan
  python -m lumina_core plan --bundle mini
  python -m lumina_core plan --memory 12
  python -m lumina_core plan --ratio 9:16
  python -m lumina_core plan --sizes
  python -m lumina_core plan --preset f16F64R512-MultiScale --budget 0.3
  python -m lumina_core plan --width 640 --height 384 --frames 48 --patch '2x4 | 0.1: 1x2' --json

t is flow time: 0 noise, 1 video. Shares count floating-point operations of the network, text of 200 and 28 tokens.
A guided step takes two network passes. The total is relative to patch size {REFERENCE} throughout, guided alike.
Memory is of the device's tensors, computed; of --memory, 1 GiB is left to the driver. The text encoder is not in it."""
_OPTIONS = ("cache", "times", "rope", "proportional", "context_drop")
"""Fields of a plan that are told of only where they are used."""
_HEADER = ("patch", "t", "steps", "tokens", "guided", "passes", "share")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="PATH", help="count for this network (default: the released one)")
    add_bundle_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sizes", action="store_true", help="list every size of the preset's area instead")
    parser.add_argument("--memory", type=number, metavar="GIB", help="say whether a card of so much memory is enough")
    parser.add_argument(
        "--dtype", choices=tuple(DTYPES), default="bf16", help="format of the run that memory is counted for"
    )
    add_size_options(parser)
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> None:
    config = _config(arguments)
    if arguments.sizes:
        side = preset_clip(preset_name(arguments)).area.side
        print("\n".join(f"{width}x{height}" for width, height in area_sizes(side)))
        return
    size = size_from(arguments)
    plan = plan_from(arguments, size, config)
    cost = plan_cost(plan, size.latent(), config)
    dtype_size = DTYPES[arguments.dtype].itemsize
    run = RunSpec(config, size.latent(), plan, dtype_size=dtype_size, weight_size=dtype_size)
    memory, verdict = memory_plan(run), memory_verdict(run, arguments.memory)
    if arguments.json:
        print(json.dumps({**as_data(plan, size, cost), "memory": memory_data(memory, verdict)}))
    else:
        print("\n".join([as_text(plan, size, cost), "", *memory_lines(memory, verdict)]))


def memory_verdict(run: RunSpec, room: float | None) -> dict[str, object]:
    """Whether a card of ``room`` GiB is enough, else a sentence on what is; nothing for None. Raises LuminaError."""
    if room is None:
        return {}
    if not CARD_RESERVE / GIB < room < math.inf:
        raise LuminaError(f"--memory is {room:g}; write the card's memory in GiB, above 1, such as 12.")
    sentence = advice(run, round(room * GIB) - CARD_RESERVE)
    return {"memory": round(room * GIB), "fits": sentence is None, "advice": sentence}


def memory_data(memory: MemoryPlan, verdict: dict[str, object]) -> dict[str, object]:
    """Bytes by what they are for, with the verdict."""
    return {
        "weights": memory.weights,
        "forward": {str(patch): count for patch, count in memory.forward.items()},
        "state": memory.state,
        "sampling": memory.sampling,
        "vae": memory.vae,
        "decode": memory.decode,
        "decoding": memory.decoding,
        "total": memory.total,
        "frames": memory.frames,
        **verdict,
    }


def memory_lines(memory: MemoryPlan, verdict: dict[str, object]) -> list[str]:
    """The same for people."""
    forward = ", ".join(f"{patch} {in_gib(count)}" for patch, count in memory.forward.items())
    lines = [
        f"sampling {in_gib(memory.sampling)}: weights {in_gib(memory.weights)}, one call at {forward}, "
        f"state {in_gib(memory.state)}",
        f"decoding {in_gib(memory.decoding)}: VAE {in_gib(memory.vae)}, its work on the whole picture "
        f"{in_gib(memory.decode)}; frames in main memory {in_gib(memory.frames)}",
    ]
    if verdict:
        room = verdict["memory"] - CARD_RESERVE
        lines.append(verdict["advice"] or f"It fits: {in_gib(memory.total)} of {in_gib(room)}.")
    return lines


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
        *(f"{name.replace('_', ' '):16} {text}" for name, text in _chosen(plan).items()),
        "",
        *_table([_HEADER, *map(_row, cost.segments)]),
        "",
        f"total {cost.relative:.3f} of {REFERENCE} throughout, {_flops(cost.flops)}, "
        f"NFE {cost.nfe} ({cost.passes} network passes)",
    ]
    return "\n".join(lines)


def _chosen(plan: SamplingPlan) -> dict[str, object]:
    """The fields that every plan is told by, and those options that it uses."""
    defaults = SamplingPlan(REFERENCE).as_dict()
    return {name: value for name, value in plan.as_dict().items() if name not in _OPTIONS or value != defaults[name]}


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
