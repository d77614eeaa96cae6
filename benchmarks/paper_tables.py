"""The paper's control tables in miniature, on a bundle: prompt following, tables 2 and 3, figure 3.

    python benchmarks/paper_tables.py --bundle mini --write docs/results.md

Prints each table and, as the last line, all figures as one JSON object. --quick takes a few prompts only, to see that
it runs; --write also writes the results document and the plot beside it (which needs matplotlib).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from audio_parts.section import read_sections  # noqa: E402 - found through the lines above
from tables import document, sections  # noqa: E402
from tables.mini import Mini, held_out_prompts, load  # noqa: E402
from tables.motions import table_3, training_scores  # noqa: E402
from tables.patches import table_2  # noqa: E402
from tables.targets import headline  # noqa: E402
from tables.windows import figure_3, plot  # noqa: E402

from lumina_core.errors import LuminaError  # noqa: E402

FIGURE = "figures/loss_windows.png"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=60, help="prompts of table 2 (default %(default)s)")
    parser.add_argument("--motion-prompts", type=int, default=40, help="of each row of table 3 (default %(default)s)")
    parser.add_argument("--rank-prompts", type=int, default=20, help="of each ranked score (default %(default)s)")
    parser.add_argument("--loss-clips", type=int, default=48, help="clips of figure 3 (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of table 2 (default %(default)s)")
    parser.add_argument("--training-clips", type=int, default=200,
                        help="drawn clips that set the motion scale (default %(default)s)")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="4 prompts, 5 steps: whether it runs, not how good it is")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the results there: docs/results.md")
    args = parser.parse_args()
    if args.quick:
        args.prompts = args.motion_prompts = args.loss_clips = 4
        args.rank_prompts, args.rounds, args.training_clips = 2, 1, 8
    counts = ("prompts", "motion_prompts", "rank_prompts", "loss_clips", "rounds", "training_clips", "threads")
    for name in counts:
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; write a number of at least 1.")
    return args


def measure(mini: Mini, args: argparse.Namespace) -> dict:
    """Every table; each is printed as soon as it is there."""
    prompts = held_out_prompts(max(args.prompts, args.motion_prompts, args.rank_prompts, args.loss_clips))
    tables: dict = {"setup": setup(mini, args)}
    tables["table_2"] = table_2(mini, prompts[: args.prompts], args.rounds, report)
    show("Prompt following", sections.following(tables))
    show("Table 2", sections.table_2(tables))
    motion, ranked = prompts[: args.motion_prompts], prompts[: args.rank_prompts]
    tables["table_3"] = table_3(mini, motion, ranked, training_scores(args.training_clips), report)
    show("Table 3", sections.table_3(tables))
    tables["figure_3"] = figure_3(mini, prompts[: args.loss_clips], report)
    show("Figure 3", sections.figure_3(tables))
    show("Wanted and measured", sections.targets(tables))
    return tables


def setup(mini: Mini, args: argparse.Namespace) -> dict:
    cores = f"{args.threads} of {os.cpu_count()} CPU cores"
    return {
        "parameters": sum(parameter.numel() for parameter in mini.model.parameters()) / 1e6,
        "command": f"python benchmarks/paper_tables.py {' '.join(sys.argv[1:])}".strip(),
        "machine": f"On {cores}, torch {torch.__version__.partition('+')[0]}, float32",
        "prompts": args.prompts,
        "motion_prompts": args.motion_prompts,
        "rounds": args.rounds,
        "preset": mini.bundle.preset,
        "single": mini.bundle.preset.removesuffix("-MultiScale"),
        "combined_patch": str(mini.combined.patch),
    }


def report(text: str) -> None:
    print(f"  {text}", flush=True)


def show(title: str, text: str) -> None:
    print(f"\n{title}\n\n{text}\n", flush=True)


def write_document(tables: dict, target: Path) -> None:
    figure: Path | None = Path(FIGURE)
    try:
        plot(tables["figure_3"], target.parent / FIGURE)
        print(f"Wrote {target.parent / FIGURE}.")
    except ImportError:
        figure = None
        print("No plot: matplotlib is not installed (pip install -r requirements-dev.txt).")
    document.write(tables, target, figure, kept=read_sections(target))
    print(f"Wrote {target}.")


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    started = time.perf_counter()
    try:
        mini = load(args.bundle, points=6 if args.quick else None)
        tables = measure(mini, args)
    except LuminaError as error:
        sys.exit(str(error))
    if args.write:
        write_document(tables, args.write)
    print(f"Took {time.perf_counter() - started:.0f} s.")
    print(json.dumps(rounded({**headline(tables), **tables})))


def rounded(value: object) -> object:
    """The same with every number to five digits."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
