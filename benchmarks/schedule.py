"""The time column of the paper's Table 2 at both released sizes: `python benchmarks/schedule.py`.

Whole sampling runs at one patch size and combined, relative to 1x2 throughout: by FLOPs of the released network, and
measured on the CPU with a network and a clip scaled down together, as seconds of one step of each patch size, guided
and not, times the steps that the presets have of each.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common.harness import make_parser, progress, run  # noqa: E402 - found through the line above
from benchmarks.common.paper import TABLE_2  # noqa: E402
from benchmarks.common.timing_rounds import TimingRounds  # noqa: E402
from lumina_core import PRESETS, MultiScaleNextDiT, PatchSize, SamplingPlan, sample  # noqa: E402
from lumina_core.cost.flops import TYPICAL_TEXT, TextTokens, forward_cost, plan_cost  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.sampling.presets import preset_clip  # noqa: E402
from lumina_core.shapes.latents import LatentSize  # noqa: E402

PATCHES = VideoConfig().patches
SCALE = 8
# An eighth of the tokens of the real latents 16x48x84 and 24x88x156; every patch size still divides them.
SCALED_LATENTS = {"f16F64R512": LatentSize(8, 12, 84), "f24F96R960": LatentSize(6, 44, 156)}
# Patch size of a step, and whether it is guided.
Step = tuple[PatchSize, bool]


@dataclass(frozen=True)
class Case:
    """A network with the clip and texts that it runs on."""

    config: VideoConfig
    size: LatentSize
    text: TextTokens


def real(name: str) -> Case:
    """The released network at a preset's own size."""
    return Case(VideoConfig(), preset_clip(name).size.latent(), TYPICAL_TEXT)


def scaled(name: str, layers: int) -> Case:
    """Width, feed-forward, text and tokens all an eighth, heads of the released width.

    Self-attention costs tokens per width more than everything linear, so dividing both by the same number keeps its
    share at every patch size; heads of the same width keep the softmax's share of it. Layers only multiply.
    """
    released, text = VideoConfig(), TYPICAL_TEXT
    names = ("dim", "heads", "kv_heads", "ffn_hidden", "text_dim", "cond_dim")
    config = replace(released, layers=layers, **{key: getattr(released, key) // SCALE for key in names})
    return Case(config, SCALED_LATENTS[name], TextTokens(text.positive // SCALE, round(text.negative / SCALE)))


def plans(name: str) -> dict[str, SamplingPlan]:
    """The rows of the table: the preset at each patch size throughout, and its own multi-scale one."""
    alone = {str(patch): PRESETS[name].replace(patch=str(patch)) for patch in PATCHES}
    return alone | {"combined": PRESETS[f"{name}-MultiScale"]}


def by_flops(name: str, case: Case) -> dict[str, float]:
    """FLOPs of each row over those of 1x2."""
    return {row: plan_cost(plan, case.size, case.config, case.text).relative for row, plan in plans(name).items()}


def steps_of(plan: SamplingPlan) -> Counter[Step]:
    return Counter((evaluation.patch, evaluation.guided) for evaluation in plan.evaluations())


def shares(case: Case) -> dict[str, float]:
    """Share of self-attention in the FLOPs of one forward pass."""
    costs = {str(patch): forward_cost(case.config, case.size, patch, case.text.positive) for patch in PATCHES}
    return {patch: cost.self_attention / cost.total for patch, cost in costs.items()}


def make_steps(name: str, case: Case) -> dict[Step, Callable[[], object]]:
    """Functions that run one step of each kind with random weights, guidance and update included."""
    generator = torch.Generator().manual_seed(0)
    network = MultiScaleNextDiT(case.config).eval().requires_grad_(False)
    for label, value in network.named_parameters():
        # Fan-in scaling keeps activations near 1, as in a trained network.
        value.normal_(1.0 if "norm" in label else 0.0, value.shape[-1] ** -0.5, generator=generator)
    noise = torch.randn(1, *case.size.shape(case.config.channels), generator=generator)
    lengths = (case.text.positive, case.text.negative)
    texts = [(torch.randn(1, n, case.config.text_dim, generator=generator), None) for n in lengths]

    def step(patch: PatchSize, guided: bool) -> Callable[[], object]:
        plan = PRESETS[name].replace(patch=str(patch))
        index = 0 if guided else plan.steps - 1
        return lambda: sample(network, noise, plan, *texts, start=index, stop=index + 1)

    return {(patch, guided): step(patch, guided) for patch in PATCHES for guided in (True, False)}


def relative(name: str, seconds: dict[Step, float]) -> dict[str, float]:
    """Seconds of each whole row, from those of one step of each kind, over those of 1x2."""
    rows = {row: sum(n * seconds[step] for step, n in steps_of(plan).items()) for row, plan in plans(name).items()}
    return {row: value / rows[str(PATCHES[0])] for row, value in rows.items()}


def measure(args: argparse.Namespace) -> dict:
    attention: list[dict] = []
    paper = {row: TABLE_2[row]["time"] for row in TABLE_2}
    times: list[dict] = [{"size": "the paper's own", "how": "measured", **paper}]
    for name in SCALED_LATENTS:
        clip, small = preset_clip(name).size, scaled(name, args.layers)
        size = f"{clip.width}x{clip.height}x{clip.frames}"
        attention += [{"network": size, **shares(real(name))}, {"network": f"{size}, scaled", **shares(small)}]
        times += [
            {"size": size, "how": "by FLOPs", **by_flops(name, real(name))},
            {"size": size, "how": "scaled, by FLOPs", **by_flops(name, small)},
        ]
        if args.rounds:
            timed = TimingRounds.by_cpu_time(args.rounds).time(make_steps(name, small))
            seconds = {step: timed.median(step) for step in timed.names}
            how = f"scaled, CPU time of one thread ({args.rounds} rounds)"
            times.append({"size": size, "how": how, **relative(name, seconds)})
            progress(size)
    return {"shares": attention, "times": times}


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the timing, 0 leaves it out (default %(default)s)")
    parser.add_argument("--layers", type=int, default=2, help="blocks of the scaled network (default %(default)s)")
    run("schedule", parser.parse_args(), measure)
