"""Largest differences from the official code over every golden case: `python -m benchmarks.parity`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "core"))

import golden  # noqa: E402 - found through the line above

from benchmarks.common.harness import make_parser, run  # noqa: E402
from lumina_core import sample  # noqa: E402
from lumina_core.sampling.timesteps import time_grid  # noqa: E402


def forward_error(name: str) -> float:
    """Every forward case of a config in float32."""
    stored, worst = golden.tensors(f"{name}/forward"), 0.0
    for case in golden.read_json("wide/wide" if name == "wide" else f"{name}/forward")["cases"]:
        if case.get("informative"):
            continue
        inputs = case.get("inputs") or {k: f"in/{k}" for k in ("x", "t", "cap_feats", "cap_mask", "motion_score")}
        found = golden.forward(golden.model(name), stored, inputs, golden.patch_of(case["patch_key"]))
        outputs = case.get("outputs") or [case["output"]]
        for ours, key in zip(found if isinstance(found, list) else [found], outputs, strict=True):
            worst = max(worst, golden.error(ours, stored[key]))
    return worst


def guidance_error(name: str) -> float:
    """Every guided velocity, one or several negatives."""
    stored = golden.tensors(f"{name}/multicfg")
    cases = golden.read_json(f"{name}/multicfg")["cases"]
    return max(golden.error(golden.guided(golden.model(name), name, c), stored[c["output_pos"]]) for c in cases)


def run_errors(name: str) -> dict[str, float]:
    """Whole runs, the largest difference of each solver."""
    stored, worst = golden.tensors(f"{name}/sampler"), {}
    for case in golden.read_json(f"{name}/sampler")["runs"]:
        plan = golden.plan_of(case)
        final = sample(golden.model(name), stored[case["inputs"]["z"]], plan, *golden.texts_of(case, stored))
        worst[plan.solver] = max(worst.get(plan.solver, 0.0), golden.error(final, stored[case["final"]]))
    return worst


def bf16_errors(name: str) -> dict[str, float]:
    """Relative L2 of bf16 against float32 with the same rounded weights, ours and the official."""
    patches = golden.model(name).config.patches
    pairs = [golden.bf16_and_exact(name, inputs, patch) for inputs in ("main", "img") for patch in patches]
    found, official, expected = golden.bf16_beside_the_official(name)
    return {
        f"bf16 {name}, ours to float32 (relative L2)": max(golden.relative_l2(*pair) for pair in pairs),
        f"bf16 {name}, stored case, ours to float32": golden.relative_l2(found, expected),
        f"bf16 {name}, stored case, official to float32": golden.relative_l2(official, expected),
        f"bf16 {name}, stored case, ours to official": golden.relative_l2(found, official),
    }


def grid_error() -> float:
    """Largest absolute difference of any time grid."""
    worst = 0.0
    for case in golden.read_json("grids")["grids"]:
        if case.get("max_stride") is not None:  # an option of the official code that we leave out
            continue
        found = time_grid(case["num_steps"], case["ts"] or 1.0)
        worst = max(worst, (found - golden.tensors("grids")[case["key"]]).abs().max().item())
    return worst


def measure(_) -> dict:
    figures = {f"forward {name}": forward_error(name) for name in (*golden.NAMES, "wide")}
    figures |= {f"guidance {name}": guidance_error(name) for name in golden.NAMES}
    for name in golden.NAMES:
        figures |= {f"run {name} {solver}": error for solver, error in run_errors(name).items()}
        figures |= bf16_errors(name)
    figures["grids (absolute)"] = grid_error()
    return {"rows": [{"what": what, "error": error} for what, error in figures.items()]}


if __name__ == "__main__":
    run("parity", make_parser(__doc__, threads=1).parse_args(), measure)
