"""Error of solvers and time schedules by NFE: `python benchmarks/solvers.py --processes 2 --write docs/results.md`.

The sampled latents are compared with those of 1,000 steps from the same noise: on the mini bundle by its single-scale
and its multi-scale preset, with guidance as there, and on the tiny network with random weights of `tests/golden`.
Prints tables and, as its last line, the same figures as one JSON object. Errors do not depend on what else the machine
does.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "core")]

import golden  # noqa: E402 - found through the line above
from audio_parts.section import SOLVERS as SECTION  # noqa: E402
from audio_parts.section import write_section  # noqa: E402
from tables.mini import held_out_prompts, load  # noqa: E402
from tables.solvers import CASES, NFES, document, headline, recommended, row_name  # noqa: E402

from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.sampling.presets import PRESETS  # noqa: E402
from lumina_core.sampling.solvers import SOLVERS  # noqa: E402
from lumina_core.sampling.video import sample  # noqa: E402

RATIONAL, SWITCHES = "rational", "rational through switches"
ONE_EVALUATION = [name for name, solver in SOLVERS.items() if solver.evaluations == 1]
ROWS = [
    *((name, times) for name in ONE_EVALUATION for times in (RATIONAL, SWITCHES, "linear", "sigmoid",
                                                             "sigmoid through switches")),
    *(("midpoint", times) for times in (RATIONAL, SWITCHES, "linear", "sigmoid")),
    *(("heun3", times) for times in (RATIONAL, SWITCHES)),
    ("heun2", RATIONAL), ("rk4", RATIONAL),
]  # fmt: skip
REFERENCE = {"solver": "adams2", "times": SWITCHES, "points": 1001}
CHECK = {"solver": "midpoint", "times": SWITCHES, "points": 201}
"""Another solver, whose distance from the reference says how far that may be trusted."""
EULER = {"solver": "euler", "times": "", "points": 70}
HALF = (EULER["points"] - 1) // 2
MOST = 12
"""Evaluations beyond the foretold number that are tried, until the error is that of Euler."""


class Case:
    """A network, noises, texts and a plan; ``errors`` of a changed plan, one for each noise."""

    def __init__(self, name: str, prompts: int):
        torch.set_num_threads(1)
        kind = name.partition("-")[0]
        self.model, self.noise, self.texts = {"mini": _mini, "tiny": _tiny, "slow": _slow}[kind](prompts)
        self.plan = PRESETS[name.replace(kind, "mini")]
        self.reference: torch.Tensor | None = None

    def latents(self, **changes) -> torch.Tensor:
        return sample(self.model, self.noise, self.plan.replace(**changes), *self.texts)

    def errors(self, **changes) -> list[float]:
        """Root mean square distance of the latents over that of the reference's from 0."""
        away, whole = (
            x.flatten(1).pow(2).mean(1).sqrt() for x in (self.latents(**changes) - self.reference, self.reference)
        )
        return (away / whole).tolist()


def _mini(prompts: int):
    mini, chosen = load("mini"), held_out_prompts(prompts)
    return mini.model, torch.cat([mini.noise(i) for i in range(prompts)]), mini.texts(chosen)


def _tiny(prompts: int):
    generator = torch.Generator().manual_seed(0)
    text, negative = (torch.randn(1, tokens, 40, generator=generator) for tokens in (7, 4))
    noise = torch.randn(prompts, 16, 2, 4, 8, generator=generator)
    return golden.model("cfg2"), noise, ((text, None), (negative, None))


def _slow(prompts: int):
    """The same weights, their velocity smooth in t."""
    model, *rest = _tiny(prompts)
    model.config = replace(model.config, t_scale=10.0)
    return model, *rest


def points(solver: str, nfe: int) -> int:
    """The most points whose evaluations are no more than ``nfe``."""
    return nfe // SOLVERS[solver].evaluations + 1


def measure(name: str, prompts: int) -> dict:
    """Errors of every row of one case, and of the 70-point Euler run."""
    case = Case(name, prompts)
    case.reference = case.latents(**REFERENCE)
    found = {"check": case.errors(**CHECK), "euler": case.errors(**EULER), "rows": {}}
    report(f"{name}: euler {statistics.median(found['euler']):.4f}, check {statistics.median(found['check']):.4f}")
    for solver, times in ROWS:
        errors = {nfe: _tried(case, solver, times, nfe) for nfe in NFES}
        found["rows"][row_name(solver, times)] = errors
        report(f"{name}: {solver} {times} {[e and round(statistics.median(e), 4) for e in errors.values()]}")
    found["equal"] = _equal(case, found)
    return found


def _tried(case: Case, solver: str, times: str, nfe: int) -> list[float] | None:
    """None where so few evaluations make no plan."""
    try:
        case.plan.replace(solver=solver, times=times, points=points(solver, nfe))
    except LuminaError:
        return None
    return case.errors(solver=solver, times=times, points=points(solver, nfe))


def _equal(case: Case, found: dict) -> dict[str, int]:
    """For the rows that come near it: the fewest evaluations whose median error is at most that of 70-point Euler,
    foretold between the measured ones and then tried."""
    goal, equal = statistics.median(found["euler"]), {}
    for solver, times in ROWS:
        start = foretold(found["rows"][row_name(solver, times)], goal)
        if start is None:
            continue
        step = SOLVERS[solver].evaluations
        start -= start % step
        for nfe in range(start, min(start + MOST, HALF + 1), step):
            errors = _tried(case, solver, times, nfe)
            if errors is not None and statistics.median(errors) <= goal:
                equal[row_name(solver, times)] = nfe
                break
    report(f"equal to 70-point Euler: {equal}")
    return equal


def foretold(errors: dict[int, list[float] | None], goal: float) -> int | None:
    """Where a straight line in the logs between two measured numbers of evaluations meets ``goal``; None at more than
    half of Euler's."""
    known = [(nfe, statistics.median(e)) for nfe, e in errors.items() if e is not None]
    for (a, before), (b, after) in zip(known, known[1:], strict=False):
        if after <= goal < before:
            part = math.log(before / goal) / math.log(before / after)
            nfe = math.floor(a * (b / a) ** part)
            return nfe if nfe <= HALF else None
    return None


def report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=3, help="noises of each case (default %(default)s)")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), help="(default all)")
    parser.add_argument("--processes", type=int, default=1, help="cases at a time (default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section there: docs/results.md")
    given = parser.parse_args()
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        found = dict(zip(given.cases, pool.map(partial(measure, prompts=given.prompts), given.cases), strict=True))
    result = {"prompts": given.prompts, "cases": found}
    result |= {"recommended": recommended(found), **headline(found)}
    text = document(result, "python benchmarks/solvers.py " + " ".join(sys.argv[1:]))
    print(text)
    if given.write:
        write_section(given.write, text, SECTION)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
