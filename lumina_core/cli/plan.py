"""``plan``: shows the cost and the memory use of a sampling plan without loading a model."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass

from ..checkpoints.video import read_video_config
from ..cost.flops import REFERENCE, PlanCost, Segment, plan_cost
from ..cost.memory import GIB, MemoryPlan, RunSpec, memory_plan
from ..cost.memory_advice import CARD_RESERVE, advice, in_gib
from ..cost.summary import cost_outline
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
HELP = "Show the cost of a sampling plan by segment, and its memory use. Loads no model."
EXAMPLES = f"""examples:
  lumina-video plan
  lumina-video plan --bundle mini
  lumina-video plan --memory 12
  lumina-video plan --ratio 9:16
  lumina-video plan --sizes
  lumina-video plan --preset f16F64R512-MultiScale --budget 0.3
  lumina-video plan --width 640 --height 384 --frames 48 --patch '2x4 | 0.1: 1x2' --json

t is the timestep: 0 is noise, 1 is data. Shares are of the FLOPs of the network, with texts of 200 and 28 tokens. A
guided step takes two network passes. The total is relative to a constant patch size {REFERENCE} with the same guidance.
Memory is estimated for tensors on the device, without the text encoder; of --memory, 1 GiB is left to the driver."""
# Fields of a plan that are shown only if they are used.
_OPTIONS = ("cache", "times", "rope", "proportional", "context_drop")
# Columns of the table.
_HEADER = ("patch", "t", "steps", "tokens", "guided", "passes", "share")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--checkpoint", metavar="PATH", help="use the configuration of this checkpoint (default: the released one)"
    )
    add_bundle_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sizes", action="store_true", help="list the training sizes of the preset instead")
    parser.add_argument(
        "--memory", type=number, metavar="GIB", help="say whether a GPU with this much memory is enough"
    )
    parser.add_argument(
        "--dtype", choices=tuple(DTYPES), default="bf16", help="dtype of the run for the memory estimate (default bf16)"
    )
    add_size_options(parser)
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command. Raises LuminaError."""
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
    memory, fit = memory_plan(run), memory_fit(run, arguments.memory)
    if arguments.json:
        print(json.dumps({**as_data(plan, size, cost), "memory": memory_data(memory, fit)}))
    else:
        print("\n".join([as_text(plan, size, cost), "", *memory_lines(memory, fit)]))


@dataclass(frozen=True)
class MemoryFit:
    """Whether a run fits into the memory of a GPU.

    Args:
        memory: of the GPU, in bytes.
        advice: a sentence that says what would fit; None if the run fits.
    """

    memory: int
    advice: str | None


def memory_fit(run: RunSpec, gib: float | None) -> MemoryFit | None:
    """Whether a GPU with ``gib`` GiB of memory is enough; None for None.

    Raises:
        LuminaError: ``gib`` is not above 1.
    """
    if gib is None:
        return None
    if not CARD_RESERVE / GIB < gib < math.inf:
        raise LuminaError(
            f"--memory is {gib:g}; write the memory of the GPU in GiB, above 1, such as 12.",
            field="memory",
            kind="value",
        )
    return MemoryFit(round(gib * GIB), advice(run, round(gib * GIB) - CARD_RESERVE))


def memory_data(memory: MemoryPlan, fit: MemoryFit | None) -> dict[str, object]:
    """The memory estimate for JSON, in bytes by use."""
    data: dict[str, object] = {
        "weights": memory.weights,
        "forward": {str(patch): count for patch, count in memory.forward.items()},
        "state": memory.state,
        "sampling": memory.sampling,
        "vae": memory.vae,
        "decode": memory.decode,
        "decoding": memory.decoding,
        "total": memory.total,
        "frames": memory.frames,
    }
    if fit is not None:
        data |= {"memory": fit.memory, "fits": fit.advice is None, "advice": fit.advice}
    return data


def memory_lines(memory: MemoryPlan, fit: MemoryFit | None) -> list[str]:
    """The memory estimate as text."""
    forward = ", ".join(f"{patch} {in_gib(count)}" for patch, count in memory.forward.items())
    lines = [
        f"sampling {in_gib(memory.sampling)}: weights {in_gib(memory.weights)}, a forward pass at {forward}, "
        f"state {in_gib(memory.state)}",
        f"decoding {in_gib(memory.decoding)}: VAE {in_gib(memory.vae)}, activations for whole frames "
        f"{in_gib(memory.decode)}; frames in main memory {in_gib(memory.frames)}",
    ]
    if fit is not None:
        lines.append(fit.advice or f"It fits: {in_gib(memory.total)} of {in_gib(fit.memory - CARD_RESERVE)}.")
    return lines


def _config(arguments: argparse.Namespace) -> VideoConfig:
    """The configuration of the network. The preset of a bundle becomes the default preset. Raises LuminaError."""
    if arguments.bundle is None:
        path = arguments.checkpoint
        return VideoConfig() if path is None else read_video_config(existing("--checkpoint", path))
    if arguments.checkpoint is not None:
        raise LuminaError(
            "--bundle has all models and --checkpoint names one; use only one of them.", field="bundle", kind="value"
        )
    bundle = find_bundle(arguments.bundle)
    use_preset(arguments, bundle.preset)
    return read_video_config(bundle.checkpoint)


def as_data(plan: SamplingPlan, size: VideoSize, cost: PlanCost) -> dict[str, object]:
    """The plan and its cost for JSON."""
    latent = size.latent()
    return {
        "width": size.width,
        "height": size.height,
        "frames": size.frames,
        "latent": [latent.frames, latent.height, latent.width],
        "plan": plan.as_dict(),
        **cost_outline(cost),
    }


def as_text(plan: SamplingPlan, size: VideoSize, cost: PlanCost) -> str:
    """The plan and its cost as text with a table."""
    latent = size.latent()
    lines = [
        f"{size.width}x{size.height}, {size.frames} frames: latent {latent.frames}x{latent.height}x{latent.width}",
        *(f"{name.replace('_', ' '):16} {text}" for name, text in _chosen(plan).items()),
        "",
        *_table([_HEADER, *map(_row, cost.segments)]),
        "",
        f"total {cost.relative:.3f} of a constant {REFERENCE}, {_flops(cost.flops)}, "
        f"NFE {cost.nfe} ({cost.passes} network passes)",
    ]
    return "\n".join(lines)


def _chosen(plan: SamplingPlan) -> dict[str, object]:
    """The fields of the plan to show: all except unused options."""
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
