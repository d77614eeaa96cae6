"""The paper's control tables in miniature, on the bundled model: `python -m benchmarks.paper_tables`.

Table 2 (patch sizes alone and combined), Table 3 (positive and negative motion scores) and Figure 3 (loss of each patch
size over flow time) of arXiv 2502.06782. `--quick` only shows that it runs.
"""

from __future__ import annotations

import argparse

from benchmarks.common.comparison import target
from benchmarks.common.harness import at_least, make_parser, run
from benchmarks.common.loss_windows import figure_3
from benchmarks.common.mini_clips import default_plan, load
from benchmarks.common.motion_scores import table_3, training_median
from benchmarks.common.patch_sizes import COMBINED, REFERENCE, table_2
from lumina_core.mini.prompts import held_out_prompts

# Figure, key, bound, and whether the bound is a maximum.
TARGETS = (
    ("color right, single scale", "color", 0.95, False),
    ("shape right, single scale", "shape", 0.85, False),
    ("direction right, single scale", "direction", 0.85, False),
    ("accuracy of the combined schedule over that of 1x2", "accuracy_ratio", 0.97, False),
    ("FLOPs of the combined schedule over those of 1x2", "flops", 0.5, True),
    ("rank correlation of motion score and measured motion", "spearman", 0.9, False),
)


def parse_arguments() -> argparse.Namespace:
    parser, count = make_parser(__doc__, threads=1), at_least(1)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=count, default=60, help="prompts of table 2 (default %(default)s)")
    parser.add_argument("--motion-prompts", type=count, default=40, help="per row of table 3 (default %(default)s)")
    parser.add_argument("--rank-prompts", type=count, default=20, help="per ranked score (default %(default)s)")
    parser.add_argument("--loss-clips", type=count, default=48, help="clips of figure 3 (default %(default)s)")
    parser.add_argument("--rounds", type=count, default=5, help="timed rounds of table 2 (default %(default)s)")
    parser.add_argument("--training-clips", type=count, default=200,
                        help="drawn clips that set the motion scale (default %(default)s)")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="4 prompts, 5 steps: whether it runs, not how good it is")
    args = parser.parse_args()
    if args.quick:
        args.prompts = args.motion_prompts = args.loss_clips = 4
        args.rank_prompts, args.rounds, args.training_clips = 2, 1, 8
    return args


def measure(args: argparse.Namespace) -> dict:
    pipe, points = load(args.bundle), 6 if args.quick else None
    prompts = held_out_prompts(max(args.prompts, args.motion_prompts, args.rank_prompts, args.loss_clips))
    figures: dict = table_2(pipe, prompts[: args.prompts], args.rounds, points)
    motion, ranked = prompts[: args.motion_prompts], prompts[: args.rank_prompts]
    figures |= table_3(pipe, default_plan(pipe, points), motion, ranked, training_median(args.training_clips))
    figures["loss"] = figure_3(pipe, prompts[: args.loss_clips])
    return {"targets": targets(figures), **figures}


def targets(figures: dict) -> list[dict]:
    """The figures that the bundle is meant to reach, and whether it does."""
    rows = {row["patch"]: row for row in figures["table_2"]}
    values = {**figures["following"][0], "flops": rows[COMBINED]["flops"], "spearman": figures["spearman"]}
    values["accuracy_ratio"] = rows[COMBINED]["accuracy"] / max(rows[REFERENCE]["accuracy"], 1e-9)
    return [target(what, values[key], bound, maximum) for what, key, bound, maximum in TARGETS]


if __name__ == "__main__":
    run("paper_tables", parse_arguments(), measure)
