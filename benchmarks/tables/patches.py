"""Prompt following, and table 2: the patch sizes alone and combined, by time, FLOPs and what the clips show."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from lumina_core.mini.draw import draw

from .mini import Mini, Prompt, SamplingPlan
from .quality import ASKED, ClipQuality, mean, means, measure_all

COMBINED = "combined"
REFERENCE = "1x2"
_TIMED_CLIPS = 2


def plans(mini: Mini) -> dict[str, SamplingPlan]:
    """The rows: the single-scale plan at every patch size, and the combined plan."""
    alone = {str(patch): mini.single.replace(patch=patch) for patch in mini.model.config.patches}
    return {name: alone[name] for name in sorted(alone)} | {COMBINED: mini.combined}


def table_2(mini: Mini, prompts: list[Prompt], rounds: int, report: Callable[[str], None]) -> dict:
    """Rows by name: relative time and FLOPs, mean quality; the single-scale clips' qualities; the VAE's own limits."""
    rows = plans(mini)
    qualities: dict[str, list[ClipQuality]] = {}
    for name, plan in rows.items():
        started = time.perf_counter()
        qualities[name] = measure_all(mini.clips(prompts, plan), prompts)
        report(f"{name}: {len(prompts)} clips in {time.perf_counter() - started:.0f} s")
    seconds = _seconds(mini, prompts[:_TIMED_CLIPS], rows, rounds)
    flops = {name: mini.flops(plan, prompts) for name, plan in rows.items()}
    found = {
        name: {
            "time": seconds[name] / seconds[REFERENCE],
            "flops": flops[name] / flops[REFERENCE],
            **means(qualities[name]),
        }
        for name in rows
    }
    return {
        "rows": found,
        "following": following(qualities[REFERENCE], prompts),
        "drawn": means(measure_all(_through_the_vae(mini, prompts), prompts)),
        "seconds_per_clip": seconds[REFERENCE] / len(prompts[:_TIMED_CLIPS]),
        "accuracy_ratio": found[COMBINED]["accuracy"] / max(found[REFERENCE]["accuracy"], 1e-9),
    }


def following(qualities: list[ClipQuality], prompts: list[Prompt]) -> dict:
    """Share of clips that show each thing asked for: of all prompts, and of each language's."""
    groups = {"all": list(zip(qualities, prompts, strict=True))}
    for language in sorted({prompt.language for prompt in prompts}):
        groups[language] = [pair for pair in groups["all"] if pair[1].language == language]
    return {
        group: {"prompts": len(pairs)} | {name: mean([getattr(found, name) for found, _ in pairs]) for name in ASKED}
        for group, pairs in groups.items()
    }


def _seconds(mini: Mini, prompts: list[Prompt], rows: dict[str, SamplingPlan], rounds: int) -> dict[str, float]:
    """Median seconds of sampling a few clips, the rows in turns so that what else the machine does hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, plan in rows.items():
            started = time.perf_counter()
            mini.latents(prompts, plan)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _through_the_vae(mini: Mini, prompts: list[Prompt]) -> list[torch.Tensor]:
    """The prompts' scenes, drawn, encoded and decoded: the best that any sampling could show."""
    return [mini.vae.decode(mini.vae.encode(draw(prompt.scene))) for prompt in prompts]
