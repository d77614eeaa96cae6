"""Table 3: positive and negative motion scores against the motion measured in the clips, and against quality."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.common.comparison import mean, paired
from benchmarks.common.harness import progress
from benchmarks.common.mini_clips import make_clips
from benchmarks.common.paper import SCHEDULED_FROM, TABLE_3
from lumina_core.evaluation.rank_correlation import spearman
from lumina_core.media.motion_score import dis_flow, motion_score
from lumina_core.mini.dataset import CLIPS, drawn_samples
from lumina_core.mini.prompts import Prompt
from lumina_core.mini.quality import ClipQuality, means, measure_all
from lumina_core.mini.world import FPS
from lumina_core.pipelines.video import LuminaVideoPipeline
from lumina_core.sampling.plan import SamplingPlan

# The paper's score that corresponds to the median training clip here.
PAPER_UNIT = 4
# Scores of the rank correlation, in the paper's terms.
RANKED = (0.5, 1, 2, 4, 8)
# What a pair of rows shows: first row, second row.
COMPARISONS = {
    "both scores doubled: 8 / 8 against 4 / 4": ("4 / 4", "8 / 8"),
    "a gap: 4 / 2 against 4 / 4": ("4 / 4", "4 / 2"),
    "a larger gap: 8 / 2 against 8 / 8": ("8 / 8", "8 / 2"),
    "positive score doubled: 8 / 2 against 4 / 2": ("4 / 2", "8 / 2"),
    "the schedule on 4 / 2": ("4 / 2", "4 / 2-[0.05-4]"),
    "the schedule on 8 / 2": ("8 / 2", "8 / 2-[0.05-8]"),
}
COMPARED = ("motion", "accuracy", "sharpness", "distance")


@dataclass(frozen=True)
class Row:
    """One row's clips: measured motion score and quality of each."""

    motion: list[float]
    quality: list[ClipQuality]

    def values(self, name: str) -> list[float]:
        return self.motion if name == "motion" else [getattr(quality, name) for quality in self.quality]


def training_median(count: int) -> float:
    """Median motion score of so many drawn training clips."""
    flow = dis_flow()
    return statistics.median(motion_score(item.frames, FPS, flow) for item in drawn_samples(CLIPS, count, 1))


def table_3(
    pipe: LuminaVideoPipeline, plan: SamplingPlan, prompts: list[Prompt], ranked: list[Prompt], median: float
) -> dict:
    """Rows of "table_3", "differences" and "ranked", Spearman's correlation of score and motion, and the unit.

    Args:
        prompts: of every row of the table.
        ranked: of the rank correlation.
        median: motion score of the median training clip, which sets the scale.
    """
    unit = median / PAPER_UNIT
    rows = {name: _row(pipe, plan_of(plan, row, unit), prompts, name) for name, row in TABLE_3.items()}
    differences = []
    for comparison, (first, second) in COMPARISONS.items():
        found = {name: paired(rows[first].values(name), rows[second].values(name)) for name in COMPARED}
        differences.append({"comparison": comparison} | {
            key: value for name, d in found.items() for key, value in ((name, d.mean), (f"{name}_error", d.error))
        })  # fmt: skip
    table = [
        {
            "scores": name,
            "positive": TABLE_3[name]["positive"] * unit,
            "negative": TABLE_3[name]["negative"] * unit,
            "motion": mean(row.motion),
            **means(row.quality),
            "paper_dynamic": TABLE_3[name]["dynamic"],
            "paper_quality": TABLE_3[name]["quality"],
        }
        for name, row in rows.items()
    ]
    return {"unit": unit, "table_3": table, "differences": differences, **_ranked(pipe, plan, ranked, unit)}


def plan_of(plan: SamplingPlan, row: dict[str, float], unit: float) -> SamplingPlan:
    """A plan with the scores of one row of the paper, on the bundle's scale."""
    negative = f"{row['negative'] * unit}"
    if "then" in row:
        negative += f" | {SCHEDULED_FROM}: {row['then'] * unit}"
    return plan.replace(motion=row["positive"] * unit, negative_motion=negative)


def _row(pipe: LuminaVideoPipeline, plan: SamplingPlan, prompts: list[Prompt], name: str) -> Row:
    clips, flow = make_clips(pipe, prompts, plan), dis_flow()
    row = Row([motion_score(clip, pipe.defaults.fps, flow) for clip in clips], measure_all(clips, prompts))
    progress(f"motion scores {name}: motion {mean(row.motion):.2f}")
    return row


def _ranked(pipe: LuminaVideoPipeline, plan: SamplingPlan, prompts: list[Prompt], unit: float) -> dict:
    """Motion measured for rising scores; the plan's own negative score is kept."""
    scores = [score * unit for score in RANKED]
    rows = [_row(pipe, plan.replace(motion=score), prompts, f"{score:.2f}") for score in scores]
    table = [
        {"score": score, "motion": mean(row.motion), "accuracy": means(row.quality)["accuracy"]}
        for score, row in zip(scores, rows, strict=True)
    ]
    given = [score for score in scores for _ in prompts]
    return {"ranked": table, "spearman": spearman(given, [motion for row in rows for motion in row.motion])}
