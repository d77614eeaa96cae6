"""What every benchmark shares: its command line, the tables it prints, and the JSON line that its output ends with.

A benchmark measures and returns figures: a dict of numbers, texts and lists of rows. `benchmarks/tables.py` says how
they become tables, here and in the documents. With `--save` the JSON line is also appended to
`benchmarks/results/NAME.jsonl`, whose newest line `benchmarks/render.py` takes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.tables import tables_of
from lumina_core.errors import LuminaError

RESULTS = Path(__file__).parents[1] / "results"
# Significant digits of a saved figure.
DIGITS = 5


def make_parser(description: str | None, threads: int | None = None) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark.

    Args:
        description: the script's docstring.
        threads: default of `--threads`; None leaves that option out.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if threads is not None:
        parser.add_argument("--threads", type=at_least(1), default=threads, help="torch threads (default %(default)s)")
    parser.add_argument("--save", action="store_true", help="append the figures to benchmarks/results/")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: an integer of at least ``least``."""

    def convert(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is too small; write a number of at least {least}.")
        return int(text)

    convert.__name__ = "integer"
    return convert


def run(name: str, args: argparse.Namespace, measure: Callable[[argparse.Namespace], dict]) -> None:
    """Measure and report; a ``LuminaError`` becomes one sentence on stderr and exit code 1.

    Args:
        name: of the benchmark, which names its tables and its file of results.
        args: from ``make_parser``; threads are set where it has them.
        measure: gives the figures.
    """
    torch.set_num_threads(getattr(args, "threads", 1))
    try:
        figures = measure(args)
    except LuminaError as error:
        sys.exit(str(error))
    device = str(getattr(args, "device", "cpu"))
    finish(name, figures, "cuda" if device == "auto" and torch.cuda.is_available() else device, args.save)


def finish(name: str, figures: dict, device: str = "cpu", save: bool = False) -> None:
    """Print the tables and, as the last line, the record; append it to the results where asked to."""
    record = make_record(name, figures, device)
    for table in tables_of(name):
        text = table.render(record["figures"])
        if text is not None:
            print(f"\n{table.name}\n\n{text}", flush=True)
    print()
    line = json.dumps(record, ensure_ascii=False)
    if save:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    print(line)


def make_record(name: str, figures: dict, device: str = "cpu") -> dict:
    """One line of results: what was run, when, on what, and the figures to five significant digits."""
    return {
        "benchmark": name,
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *(a for a in sys.argv[1:] if a != "--save")]),
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "machine": machine(device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]},
        "figures": rounded(figures),
    }


def machine(device: str = "cpu") -> str:
    """The class of the machine, without its name: GPU model or number of CPU cores."""
    if device.startswith("cuda"):
        return f"one {torch.cuda.get_device_name(torch.device(device))}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores"


def rounded(value: object) -> object:
    """The same with every float to ``DIGITS`` significant digits, keys as text."""
    if isinstance(value, dict):
        return {str(name): rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def progress(text: str) -> None:
    """A line about how far a long measurement is, on stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)
