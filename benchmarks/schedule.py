"""The time column of the paper's Table 2 at both released sizes: `python benchmarks/schedule.py`.

Whole sampling runs at one patch size and combined, relative to 1x2 throughout, three ways:
- by FLOPs, from the released configuration and presets;
- measured on the CPU with a network and a clip scaled down together (`scaled`): seconds of one step of each patch size,
  guided and not, in turns, times the steps that the presets have of each; and one whole run beside that sum;
- measured on a GPU where there is one, the same way at the real size with random weights in bf16.
Prints a table and, as the last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.load import Others, Quiet  # noqa: E402 - found through the line above
from benchmarks.performance import section, write_section  # noqa: E402
from benchmarks.tables.paper import TABLE_2  # noqa: E402
from benchmarks.tables.sections import prose, table  # noqa: E402
from lumina_core import PRESETS, MultiScaleNextDiT, PatchSize, SamplingPlan, sample  # noqa: E402
from lumina_core.cost.flops import TYPICAL_TEXT, TextTokens, forward_cost, plan_cost  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.sampling.presets import preset_clip  # noqa: E402
from lumina_core.shapes.latents import LatentSize  # noqa: E402

NAMES = ("f16F64R512", "f24F96R960")
PATCHES = VideoConfig().patches
COMBINED = "combined"
BOUNDS = {"f16F64R512": 0.36, "f24F96R960": 0.30}
"""On the combined schedule's part of the seconds of 1x2, measured on a GPU."""
SCALE = 8
SCALED_LATENTS = {"f16F64R512": LatentSize(8, 12, 84), "f24F96R960": LatentSize(6, 44, 156)}
"""An eighth of the tokens of the real latents 16x48x84 and 24x88x156, and every patch size still divides them."""
Step = tuple[PatchSize, bool]
"""Patch size of a step, and whether it is guided."""


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
    """Width, feed-forward, text and tokens all an eighth, heads of the real width.

    Self-attention costs tokens per width more than everything linear, so dividing both by the same number keeps its
    share at every patch size; heads of the same width keep the softmax's share of it. Layers only multiply.
    """
    released, text = VideoConfig(), TYPICAL_TEXT
    config = VideoConfig(
        dim=released.dim // SCALE,
        layers=layers,
        heads=released.heads // SCALE,
        kv_heads=released.kv_heads // SCALE,
        ffn_hidden=released.ffn_hidden // SCALE,
        text_dim=released.text_dim // SCALE,
        cond_dim=released.cond_dim // SCALE,
    )
    return Case(config, SCALED_LATENTS[name], TextTokens(text.positive // SCALE, round(text.negative / SCALE)))


def plans(name: str) -> dict[str, SamplingPlan]:
    """The rows of the table: the preset at each patch size throughout, and its own multi-scale one."""
    alone = {str(patch): PRESETS[name].replace(patch=str(patch)) for patch in PATCHES}
    return alone | {COMBINED: PRESETS[f"{name}-MultiScale"]}


def by_flops(name: str, case: Case) -> dict[str, float]:
    """FLOPs of each row over those of 1x2."""
    return {row: plan_cost(plan, case.size, case.config, case.text).relative for row, plan in plans(name).items()}


def steps_of(plan: SamplingPlan) -> Counter[Step]:
    return Counter((evaluation.patch, evaluation.guided) for evaluation in plan.evaluations())


def summed(name: str, seconds: dict[Step, float]) -> dict[str, float]:
    """Seconds of each whole row, from those of one step of each kind."""
    return {row: sum(n * seconds[step] for step, n in steps_of(plan).items()) for row, plan in plans(name).items()}


def relative(rows: dict[str, float]) -> dict[str, float]:
    return {row: value / rows[str(PATCHES[0])] for row, value in rows.items()}


def shares(case: Case) -> dict[str, float]:
    """Part of self-attention in the FLOPs of one pass."""
    costs = {str(patch): forward_cost(case.config, case.size, patch, case.text.positive) for patch in PATCHES}
    return {patch: cost.self_attention / cost.total for patch, cost in costs.items()}


class Runs:
    """Parts of a preset's run of a network with random weights."""

    def __init__(self, name: str, case: Case, device: str, dtype: torch.dtype):
        self.name, self.case = name, case
        generator = torch.Generator(device).manual_seed(0)
        where = {"device": device, "dtype": dtype}
        with torch.device("meta"):
            network = MultiScaleNextDiT(case.config)
        self.network = network.to_empty(device=device).to(dtype).eval().requires_grad_(False)
        for label, value in self.network.named_parameters():
            # Fan-in scaling keeps activations near 1, as in a trained network.
            value.normal_(1.0 if "norm" in label else 0.0, value.shape[-1] ** -0.5, generator=generator)
        shape = (1, case.config.channels, case.size.frames, case.size.height, case.size.width)
        self.noise = torch.randn(shape, generator=generator, **where)
        lengths = (case.text.positive, case.text.negative)
        self.texts = [(torch.randn(1, n, case.config.text_dim, generator=generator, **where), None) for n in lengths]

    def step(self, step: Step) -> Callable[[], object]:
        """A function that runs one step of that kind, guidance and update included."""
        patch, guided = step
        plan = PRESETS[self.name].replace(patch=str(patch))
        index = 0 if guided else plan.steps - 1
        if plan.at(float(plan.grid()[index])).guided is not guided:
            raise SystemExit(f"Step {index + 1} of {self.name} is {'not ' * guided}guided, expected the opposite.")
        return lambda: sample(self.network, self.noise, plan, *self.texts, start=index, stop=index + 1)

    def steps(self) -> dict[Step, Callable[[], object]]:
        return {(patch, guided): self.step((patch, guided)) for patch in PATCHES for guided in (True, False)}

    def whole(self) -> Callable[[], object]:
        """A function that runs the whole multi-scale preset."""
        return lambda: sample(self.network, self.noise, PRESETS[f"{self.name}-MultiScale"], *self.texts)


def measure(runs: Runs, quiet: Quiet) -> dict:
    """Seconds per step of each kind, and the rows that they add up to."""
    timed = quiet.time(runs.steps())
    seconds = {step: timed.median(step) for step in runs.steps()}
    rows = summed(runs.name, seconds)
    return {
        "relative": relative(rows),
        "seconds": rows,
        "seconds_per_step": {f"{patch}{', guided' * guided}": s for (patch, guided), s in seconds.items()},
        **timed.fields(),
    }


def check_sum(runs: Runs, quiet: Quiet, found: dict) -> dict:
    """One whole multi-scale run beside the sum of its steps."""
    with Others(quiet.others) as load:
        start = quiet.clock()
        runs.whole()()
        seconds = quiet.clock() - start
    expected = found["seconds"][COMBINED]
    return {"run_s": seconds, "sum_s": expected, "run_over_sum": seconds / expected, "others_cores": load.cores}


def measure_cpu(name: str, args: argparse.Namespace) -> dict:
    case = scaled(name, args.layers)
    runs = Runs(name, case, "cpu", torch.float32)
    quiet = Quiet.by_processor_time(args.rounds) if args.processor_time else Quiet(args.rounds, args.tries)
    found = measure(runs, quiet)
    found |= {"shares": shares(case), "flops": by_flops(name, case)}
    # The larger size takes minutes for the same answer.
    return found | {"check": check_sum(runs, quiet, found)} if name == NAMES[0] else found


def measure_gpu(name: str, args: argparse.Namespace) -> dict:
    runs = Runs(name, real(name), "cuda", torch.bfloat16)
    found = measure(runs, Quiet(args.rounds, args.tries, wait=torch.cuda.synchronize))
    return found | {"met": found["relative"][COMBINED] <= BOUNDS[name]}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="quiet rounds wanted (default %(default)s)")
    parser.add_argument("--tries", type=int, default=6, help="rounds at most (default %(default)s)")
    parser.add_argument("--layers", type=int, default=2, help="blocks of the scaled network (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads on the CPU (default %(default)s)")
    parser.add_argument("--processor-time", action="store_true", help="on the CPU, of one thread: for a busy machine")
    parser.add_argument("--skip-cpu", action="store_true", help="leave out the scaled-down measurement")
    parser.add_argument("--write", type=Path, help="put the section into this document")
    return parser.parse_args()


def size_name(name: str) -> str:
    size = preset_clip(name).size
    return f"{size.width}x{size.height}x{size.frames}"


def document(results: dict[str, dict], args: argparse.Namespace) -> str:
    """The section of the document."""
    gpu = torch.cuda.is_available()
    columns = [*map(str, PATCHES), COMBINED]
    clock = "processor time of one CPU thread" if args.processor_time else f"CPU, {args.threads} threads"
    rows = [["the paper's own", "measured", *(f"{TABLE_2[c]['time']:.2f}" for c in columns)]]
    for name, found in results.items():
        kinds = {"by FLOPs": found["flops"]}
        if "cpu" in found:
            kinds["an eighth of it, by FLOPs"] = found["cpu"]["flops"]
            kinds[f"an eighth of it, {clock} ({_rounds(found['cpu'])})"] = found["cpu"]["relative"]
        for kind, values in kinds.items():
            rows.append([size_name(name), kind, *(f"{values[c]:.3f}" for c in columns)])
        values = [f"{found['gpu']['relative'][c]:.3f}" for c in columns] if gpu else ["not yet measured"] + [""] * 3
        kind = f"GPU, at most {BOUNDS[name]:.2f} wanted"
        rows.append([size_name(name), f"{kind} ({_rounds(found['gpu'])})" if gpu else kind, *values])
    parts = [prose(
        "Seconds of a whole run, 69 steps, guidance and motion schedules included, relative to 1x2 throughout. The "
        f"scaled network has an eighth of the released width ({VideoConfig().dim // SCALE}), heads of the released "
        f"width, {args.layers} layers and an eighth of the tokens, so self-attention keeps its part of the FLOPs:"
    ), table(["", *columns[:3]], _share_rows(results)), table(["size", "how", *columns], rows)]  # fmt: skip
    if check := results[NAMES[0]].get("cpu", {}).get("check"):
        parts.append(prose(
            f"One whole multi-scale run of the scaled {size_name(NAMES[0])} took {check['run_over_sum']:.3f} of what "
            f"the sum of its steps says ({check['run_s']:.2f} s beside {check['sum_s']:.2f} s)."
        ))  # fmt: skip
    if gpu:
        parts.append(_gpu_seconds(results))
    command = "python benchmarks/schedule.py" + " --processor-time" * args.processor_time
    return section("schedule", *parts, command=command, device="cuda" if gpu else "cpu")


def _rounds(found: dict) -> str:
    used, noisy = found["rounds_used"], found["rounds_noisy"]
    rounds = f"{used} round{'s' * (used != 1)}"
    return rounds if not noisy else f"{rounds}, {noisy} noisy"


def _share_rows(results: dict[str, dict]) -> list[list[str]]:
    rows = []
    for name, found in results.items():
        both = {"": shares(real(name)), ", scaled": found.get("cpu", {}).get("shares")}
        rows += [
            [size_name(name) + kind, *(f"{100 * share:.1f} %" for share in values.values())]
            for kind, values in both.items() if values
        ]  # fmt: skip
    return rows


def _gpu_seconds(results: dict[str, dict]) -> str:
    kinds = list(results[NAMES[0]]["gpu"]["seconds_per_step"])
    rows = [
        [size_name(name), *(f"{found['gpu']['seconds_per_step'][kind]:.3f}" for kind in kinds)]
        for name, found in results.items()
    ]  # fmt: skip
    return table(["seconds per step", *kinds], rows)


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(1 if args.processor_time else args.threads)
    results = {}
    for name in NAMES:
        results[name] = {"flops": by_flops(name, real(name))}
        if not args.skip_cpu:
            results[name]["cpu"] = measure_cpu(name, args)
        if torch.cuda.is_available():
            results[name]["gpu"] = measure_gpu(name, args)
            torch.cuda.empty_cache()
    text = document(results, args)
    print(text)
    if args.write:
        write_section(args.write, "schedule", text)
    print(json.dumps({"schedule": results, "paper": {row: TABLE_2[row]["time"] for row in TABLE_2}}))


if __name__ == "__main__":
    main()
