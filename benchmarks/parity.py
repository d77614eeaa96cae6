"""Largest differences from the official code, over every golden case: `python benchmarks/parity.py`.

Prints a table for people and, as its last line, the same figures as one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "core")]

import golden  # noqa: E402 - found through the line above
import torch  # noqa: E402

from lumina_core import SamplingPlan, sample  # noqa: E402
from lumina_core.clock import time_grid  # noqa: E402
from lumina_core.guidance import guide  # noqa: E402


@torch.no_grad()
def forward_error(name: str) -> float:
    """Every forward case of a config in float32."""
    stored, network, worst = golden.tensors(f"{name}/forward"), golden.model(name), 0.0
    facts = golden.read_json("wide/wide" if name == "wide" else f"{name}/forward")["cases"]
    for case in facts:
        if case.get("informative"):
            continue
        inputs = case.get("inputs") or {k: f"in/{k}" for k in ("x", "t", "cap_feats", "cap_mask", "motion_score")}
        x = inputs["x"]
        found = network(
            stored[x] if isinstance(x, str) else [stored[key] for key in x],
            stored[inputs["t"]],
            stored[inputs["cap_feats"]],
            stored[inputs["cap_mask"]].bool(),
            stored[inputs["motion_score"]],
            golden.patch_of(case["patch_key"]),
        )
        outputs = case.get("outputs") or [case["output"]]
        for ours, key in zip(found if isinstance(found, list) else [found], outputs, strict=True):
            worst = max(worst, golden.error(ours, stored[key]))
    return worst


@torch.no_grad()
def guidance_error(name: str) -> float:
    """Every guided velocity, one or several negatives."""
    stored, worst = golden.tensors(f"{name}/multicfg"), 0.0
    for case in golden.read_json(f"{name}/multicfg")["cases"]:
        t, batch = torch.tensor(case["t"], dtype=torch.float32), case["pos_batch_size"]
        x, text, mask = (stored[case["inputs"][key]] for key in ("x", "cap_feats", "cap_mask"))
        scales = [golden.piecewise(c).at(t.item()) for c in case["cfg_scale"]]
        motion = torch.tensor([float(golden.piecewise(m).at(t.item())) for m in case["motion_score"]])
        used = [0] + [i for i, scale in enumerate(scales, start=1) if scale > 0]
        rows = torch.cat([torch.arange(i * batch, (i + 1) * batch) for i in used])
        patch = golden.piecewise(case["patch_comb"]).at(t.item())
        state = x[:batch].repeat(len(used), 1, 1, 1, 1)
        parts = golden.model(name)(state, t.expand(len(rows)), text[rows], mask[rows].bool(), motion[rows], patch)
        positive, *negatives = parts.split(batch)
        pairs = [(scales[i - 1], part) for i, part in zip(used[1:], negatives, strict=True)]
        worst = max(worst, golden.error(guide(positive, pairs, float(case["renorm_cfg"])), stored[case["output_pos"]]))
    return worst


def run_errors(name: str) -> dict[str, float]:
    """Whole runs, the largest difference of each solver."""
    stored, worst = golden.tensors(f"{name}/sampler"), {}
    for run in golden.read_json(f"{name}/sampler")["runs"]:
        plan = SamplingPlan(
            patch=golden.piecewise(run["P"]),
            guidance=golden.piecewise(run["cfg"]),
            motion=run["motion"],
            negative_motion=golden.piecewise(run["negMotion"]),
            renorm=run["renorm"],
            time_shift=run["ts"],
            points=run["num_steps"],
            solver=run["method"],
        )
        text, mask = (stored[run["inputs"][key]] for key in ("cap_feats", "cap_mask"))
        texts = [(text[i : i + 1], mask[i : i + 1].bool()) for i in range(2)]
        final = sample(golden.model(name), stored[run["inputs"]["z"]], plan, *texts)
        worst[plan.solver] = max(worst.get(plan.solver, 0.0), golden.error(final, stored[run["final"]]))
    return worst


def grid_error() -> float:
    """Largest absolute difference of any time grid."""
    worst = 0.0
    for case in golden.read_json("grids")["grids"]:
        found = time_grid(case["num_steps"], case["ts"] or 1.0, case.get("max_stride"), case.get("max_t"))
        worst = max(worst, (found - golden.tensors("grids")[case["key"]][: len(found)]).abs().max().item())
    return worst


def measure() -> dict[str, float]:
    figures = {f"forward {name}": forward_error(name) for name in (*golden.NAMES, "wide")}
    figures |= {f"guidance {name}": guidance_error(name) for name in golden.NAMES}
    for name in golden.NAMES:
        figures |= {f"run {name} {solver}": error for solver, error in run_errors(name).items()}
    return figures | {"grids (absolute)": grid_error()}


def main() -> None:
    figures = measure()
    print("| what | largest difference |\n|---|---|")
    for name, value in figures.items():
        print(f"| {name} | {value:.1e} |")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
