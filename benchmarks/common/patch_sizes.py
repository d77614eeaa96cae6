"""Prompt following, and Table 2: the patch sizes alone and combined, by time, FLOPs and quality of the clips."""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.common.comparison import mean
from benchmarks.common.harness import progress
from benchmarks.common.mini_clips import BATCH, MULTI_SCALE, make_clips, texts_of
from benchmarks.common.paper import TABLE_2
from lumina_core.cost.flops import TextTokens, plan_cost
from lumina_core.mini.draw import draw
from lumina_core.mini.prompts import Prompt
from lumina_core.mini.quality import ASKED, ClipQuality, means, measure_all
from lumina_core.pipelines.video import LuminaVideoPipeline
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.sampling.presets import PRESETS

COMBINED, REFERENCE = "combined", "1x2"
LANGUAGES = {"en": "English", "zh": "Chinese"}
# Clips whose sampling is timed.
TIMED = 2


def plans(pipe: LuminaVideoPipeline, points: int | None = None) -> dict[str, SamplingPlan]:
    """The rows: the single-scale plan at every patch size, and the combined plan."""
    single = pipe.defaults.preset.removesuffix(MULTI_SCALE)
    rows = {str(patch): PRESETS[single].replace(patch=patch) for patch in sorted(pipe.config.patches, key=str)}
    rows[COMBINED] = PRESETS[single + MULTI_SCALE]
    return {name: plan if points is None else plan.replace(points=points) for name, plan in rows.items()}


def table_2(
    pipe: LuminaVideoPipeline, prompts: list[Prompt], rounds: int, points: int | None = None
) -> dict[str, list[dict]]:
    """Rows of "table_2" (relative time and FLOPs, mean quality; last the VAE's own limit) and of "following"."""
    rows = plans(pipe, points)
    qualities: dict[str, list[ClipQuality]] = {}
    for name, plan in rows.items():
        qualities[name] = measure_all(make_clips(pipe, prompts, plan), prompts)
        progress(f"patch size {name}: {len(prompts)} clips")
    seconds = _seconds(pipe, prompts[:TIMED], rows, rounds)
    flops = {name: _flops(pipe, plan, prompts) for name, plan in rows.items()}
    found = [
        {
            "patch": name,
            "time": seconds[name] / seconds[REFERENCE],
            "flops": flops[name] / flops[REFERENCE],
            **means(qualities[name]),
            **{f"paper_{key}": TABLE_2[name][key] for key in ("time", "total") if name in TABLE_2},
        }
        for name in rows
    ]
    found.append({"patch": "drawn, through the VAE", **means(measure_all(_through_the_vae(pipe, prompts), prompts))})
    return {"table_2": found, "following": following(qualities[REFERENCE], prompts)}


def following(qualities: list[ClipQuality], prompts: list[Prompt]) -> list[dict]:
    """Share of clips that show each thing asked for: of all prompts, and of each language's."""
    pairs = list(zip(qualities, prompts, strict=True))
    groups = {"all": pairs} | {
        name: [pair for pair in pairs if pair[1].language == language] for language, name in LANGUAGES.items()
    }
    return [
        {"language": name, "prompts": len(found)} | {key: mean([getattr(q, key) for q, _ in found]) for key in ASKED}
        for name, found in groups.items()
        if found
    ]


def _seconds(
    pipe: LuminaVideoPipeline, prompts: list[Prompt], rows: dict[str, SamplingPlan], rounds: int
) -> dict[str, float]:
    """Median seconds of sampling a few clips; interleaved, so other load affects all rows alike."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, plan in rows.items():
            started = time.perf_counter()
            pipe([prompt.text for prompt in prompts], plan=plan, batch_size=BATCH, output_type="latent")
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _flops(pipe: LuminaVideoPipeline, plan: SamplingPlan, prompts: list[Prompt]) -> float:
    """FLOPs of one clip, with the mean number of text tokens of the prompts."""
    (_, mask), (_, negative) = texts_of(pipe, prompts)
    tokens = TextTokens(round(float(mask.sum(1).float().mean())), int(negative[0].sum()))
    return plan_cost(plan, pipe.defaults.size.latent(), pipe.config, tokens).flops


def _through_the_vae(pipe: LuminaVideoPipeline, prompts: list[Prompt]) -> list[torch.Tensor]:
    """The prompts' scenes, drawn, encoded and decoded: the best that any sampling could show."""
    return [pipe.decode(pipe.encode_frames(draw(prompt.scene)))[0] for prompt in prompts]
