"""Table 3: positive and negative motion scores against the motion measured in the clips, and against quality."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lumina_core.evaluation.rank_correlation import spearman
from lumina_core.media.motion_score import dis_flow, motion_score
from lumina_core.mini.dataset import CLIPS, drawn_items
from lumina_core.mini.world import FPS

from . import paper
from .mini import Mini, Prompt, SamplingPlan
from .quality import ClipQuality, mean, means, measure_all
from .statistics import Difference, paired, quantile

PAPER_UNIT = 4
"""The paper's score that stands for the median training clip here."""
RANKED = (0.5, 1, 2, 4, 8)
"""Scores of the rank correlation, in the paper's terms: each twice the one before, up to its largest."""
_SEED = 1
COMPARISONS = {
    "score, equal": ("4 / 4", "8 / 8"),
    "gap at 4": ("4 / 4", "4 / 2"),
    "gap at 8": ("8 / 8", "8 / 2"),
    "score, against 2": ("4 / 2", "8 / 2"),
    "schedule at 4": ("4 / 2", "4 / 2-[0.05-4]"),
    "schedule at 8": ("8 / 2", "8 / 2-[0.05-8]"),
}
"""Pairs of rows, and what their difference shows."""
COMPARED = ("flow", "accuracy", "sharpness", "distance")


@dataclass(frozen=True)
class Row:
    """One row's clips: measured motion score and quality of each."""

    flow: list[float]
    quality: list[ClipQuality]

    def values(self, name: str) -> list[float]:
        return self.flow if name == "flow" else [getattr(quality, name) for quality in self.quality]


def training_scores(count: int) -> list[float]:
    """Motion scores of drawn training clips."""
    flow = dis_flow()
    return [motion_score(item.frames, FPS, flow) for item in drawn_items(CLIPS, count, _SEED)]


def table_3(
    mini: Mini,
    prompts: list[Prompt],
    ranked: list[Prompt],
    scores: list[float],
    report: Callable[[str], None],
) -> dict:
    """The six rows and what their differences show, and the rank correlation of score and measured motion.

    scores: those of training clips, which set the scale. ranked: the prompts of the rank correlation.
    """
    plan, unit = mini.default, quantile(scores, 0.5) / PAPER_UNIT
    rows = {name: _row(mini, _plan(plan, row, unit), prompts, name, report) for name, row in paper.TABLE_3.items()}
    return {
        "unit": unit,
        "rows": {
            name: {
                "positive": paper.TABLE_3[name]["positive"] * unit,
                "negative": paper.TABLE_3[name]["negative"] * unit,
                "flow": mean(row.flow),
                **means(row.quality),
            }
            for name, row in rows.items()
        },
        "differences": {
            what: {name: _as_dict(paired(rows[a].values(name), rows[b].values(name))) for name in COMPARED}
            for what, (a, b) in COMPARISONS.items()
        },
        "rank": _rank(mini, plan, ranked, [score * unit for score in RANKED], report),
    }


def _plan(plan: SamplingPlan, row: dict[str, float], unit: float) -> SamplingPlan:
    """A plan with the scores of one row of the paper, on the bundle's scale."""
    negative = f"{row['negative'] * unit}"
    if "then" in row:
        negative += f" | {paper.SCHEDULED_FROM}: {row['then'] * unit}"
    return plan.replace(motion=row["positive"] * unit, negative_motion=negative)


def _row(mini: Mini, plan: SamplingPlan, prompts: list[Prompt], name: str, report: Callable[[str], None]) -> Row:
    started = time.perf_counter()
    clips = mini.clips(prompts, plan)
    flow = dis_flow()
    row = Row([motion_score(clip, mini.bundle.fps, flow) for clip in clips], measure_all(clips, prompts))
    report(f"{name}: flow {mean(row.flow):.2f}, {len(prompts)} clips in {time.perf_counter() - started:.0f} s")
    return row


def _rank(
    mini: Mini, plan: SamplingPlan, prompts: list[Prompt], scores: list[float], report: Callable[[str], None]
) -> dict:
    """Motion measured for rising scores, the plan's own negative score kept."""
    rows = [_row(mini, plan.replace(motion=score), prompts, f"score {score:.2f}", report) for score in scores]
    asked = [score for score in scores for _ in prompts]
    found = [flow for row in rows for flow in row.flow]
    return {
        "scores": scores,
        "flow": [mean(row.flow) for row in rows],
        "accuracy": [means(row.quality)["accuracy"] for row in rows],
        "negative": str(plan.negative_motion),
        "prompts": len(prompts),
        "spearman": spearman(asked, found),
    }


def _as_dict(difference: Difference) -> dict[str, float]:
    return {"mean": difference.mean, "error": difference.error, "sign": difference.sign}
