"""Error of solvers and time grids by NFE: `python -m benchmarks.solvers --processes 2`.

The sampled latents are compared with those of 1,000 steps from the same noise: on the mini bundle by its single-scale
and its multi-scale preset, with guidance, and on the tiny network with random weights of `tests/golden`. Errors do not
depend on what else the machine does.
"""

from __future__ import annotations

import argparse
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
sys.path.insert(0, str(ROOT / "tests" / "core"))

import golden  # noqa: E402 - found through the line above

from benchmarks.common.harness import make_parser, progress, run  # noqa: E402
from benchmarks.common.mini_clips import load, network_of, noise_of, texts_of  # noqa: E402
from benchmarks.tables import SOLVER_CASES  # noqa: E402
from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.mini.prompts import held_out_prompts  # noqa: E402
from lumina_core.sampling.presets import PRESETS  # noqa: E402
from lumina_core.sampling.solvers import SOLVERS  # noqa: E402
from lumina_core.sampling.video import sample  # noqa: E402

RATIONAL, SWITCHES = "rational", "rational through switches"
# Solver and time grid of every row.
ROWS = [
    *((name, times) for name, solver in SOLVERS.items() if solver.evaluations == 1
      for times in (RATIONAL, SWITCHES, "linear", "sigmoid", "sigmoid through switches")),
    *(("midpoint", times) for times in (RATIONAL, SWITCHES, "linear", "sigmoid")),
    *(("heun3", times) for times in (RATIONAL, SWITCHES)),
    ("heun2", RATIONAL), ("rk4", RATIONAL),
]  # fmt: skip
NFES = (10, 20, 40)
REFERENCE = {"solver": "adams2", "times": SWITCHES, "points": 1001}
# Another solver, whose distance from the reference says how far that may be trusted.
CHECK = {"solver": "midpoint", "times": SWITCHES, "points": 201}
EULER = {"solver": "euler", "times": "", "points": 70}
EULER_NFE = EULER["points"] - 1
# The most NFE that count as half of Euler's, and how many beyond the predicted one are tried.
HALF, TRIES = EULER_NFE // 2, 12
# The setting whose NFE at the error of 70-point Euler is the target.
RECOMMENDED = ("adams2", SWITCHES)


class Case:
    """A network, noises, texts and a plan; ``error`` of a changed plan is the median over the noises."""

    def __init__(self, name: str, prompts: int):
        torch.set_num_threads(1)
        kind = name.partition("-")[0]
        self.model, self.noise, self.texts = {"mini": _mini, "tiny": _tiny, "slow": _slow}[kind](prompts)
        self.plan = PRESETS[name.replace(kind, "mini")]
        self.reference = self._latents(**REFERENCE)

    def error(self, **changes) -> float:
        """Root mean square distance of the latents from the reference, over that of the reference from 0."""
        away, whole = (
            x.flatten(1).pow(2).mean(1).sqrt() for x in (self._latents(**changes) - self.reference, self.reference)
        )
        return statistics.median((away / whole).tolist())

    def error_at(self, solver: str, times: str, nfe: int) -> float | None:
        """Of the most points with at most ``nfe`` evaluations; None where so few make no plan."""
        changes = {"solver": solver, "times": times, "points": nfe // SOLVERS[solver].evaluations + 1}
        try:
            self.plan.replace(**changes)
        except LuminaError:
            return None
        return self.error(**changes)

    def _latents(self, **changes) -> torch.Tensor:
        return sample(self.model, self.noise, self.plan.replace(**changes), *self.texts)


def _mini(prompts: int):
    pipe = load("mini")
    with network_of(pipe) as network:
        return network, noise_of(pipe, prompts), texts_of(pipe, held_out_prompts(prompts))


def _tiny(prompts: int):
    generator = torch.Generator().manual_seed(0)
    text, negative = (torch.randn(1, tokens, 40, generator=generator) for tokens in (7, 4))
    noise = torch.randn(prompts, 16, 2, 4, 8, generator=generator)
    return golden.model("cfg2"), noise, ((text, None), (negative, None))


def _slow(prompts: int):
    """The same weights with t embedded a hundredth as fast, so the velocity is smooth in t."""
    model, *rest = _tiny(prompts)
    model.config = replace(model.config, t_scale=10.0)
    return model, *rest


def measure_case(name: str, prompts: int) -> list[dict]:
    """The rows of one case; the first is 70-point Euler, its `check` the error of another accurate run."""
    case = Case(name, prompts)
    euler = case.error(**EULER)
    rows: list[dict] = [
        {
            "solver": "euler",
            "times": "70 points",
            "error_69": euler,
            "equal_nfe": EULER_NFE,
            "check": case.error(**CHECK),
        }
    ]
    for solver, times in ROWS:
        errors = {nfe: case.error_at(solver, times, nfe) for nfe in NFES}
        rows.append({
            "solver": solver, "times": times, **{f"error_{nfe}": error for nfe, error in errors.items()},
            "equal_nfe": _equal_nfe(case, solver, times, errors, euler),
        })  # fmt: skip
        progress(f"{name}: {solver}, {times}")
    return rows


def _equal_nfe(case: Case, solver: str, times: str, errors: dict[int, float | None], goal: float) -> int | None:
    """The fewest evaluations whose error is at most ``goal``; None where that takes more than half of Euler's."""
    start, step = predicted_nfe(errors, goal), SOLVERS[solver].evaluations
    if start is None:
        return None
    start -= start % step
    for nfe in range(start, min(start + TRIES, HALF + 1), step):
        error = case.error_at(solver, times, nfe)
        if error is not None and error <= goal:
            return nfe
    return None


def predicted_nfe(errors: dict[int, float | None], goal: float) -> int | None:
    """Where a straight line in the logs between two measured NFE meets ``goal``; None above half of Euler's."""
    known = [(nfe, error) for nfe, error in errors.items() if error is not None]
    for (a, before), (b, after) in zip(known, known[1:], strict=False):
        if after <= goal < before:
            part = math.log(before / goal) / math.log(before / after)
            nfe = math.floor(a * (b / a) ** part)
            return nfe if nfe <= HALF else None
    return None


def measure(args: argparse.Namespace) -> dict:
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        cases = dict(zip(args.cases, pool.map(partial(measure_case, prompts=args.prompts), args.cases), strict=True))
    targets = []
    for name, rows in cases.items():
        nfe = next(row["equal_nfe"] for row in rows if (row["solver"], row["times"]) == RECOMMENDED)
        share = None if nfe is None else nfe / EULER_NFE
        targets.append({"case": SOLVER_CASES[name], "share": share, "met": share is not None and share <= 0.5})
    return {"prompts": args.prompts, "targets": targets, "cases": cases}


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--prompts", type=int, default=3, help="noises of each case (default %(default)s)")
    parser.add_argument("--cases", nargs="*", default=list(SOLVER_CASES), choices=list(SOLVER_CASES))
    parser.add_argument("--processes", type=int, default=1, help="cases at a time (default %(default)s)")
    run("solvers", parser.parse_args(), measure)
