"""Clips of an exact run compared with those of approximate ones, from the same noise: FLOPs, time, quality, motion."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.common.comparison import mean, paired
from benchmarks.common.harness import progress
from benchmarks.common.mini_clips import default_plan
from lumina_core.cost.flops import price_list
from lumina_core.media.motion_score import dis_flow, motion_score
from lumina_core.mini.prompts import Prompt, held_out_prompts
from lumina_core.mini.quality import measure
from lumina_core.network.config import VideoConfig
from lumina_core.pipelines.video import LuminaVideoPipeline
from lumina_core.sampling.plan import Evaluation, SamplingPlan
from lumina_core.sampling.presets import PRESETS, preset_clip
from lumina_core.sampling.step_update import StepUpdate
from lumina_core.shapes.schedules import Piecewise

EXACT = "exact"
# The released preset whose FLOPs are computed from the shares that were reused on the mini bundle.
RELEASED = "f24F96R960-MultiScale"


@dataclass(frozen=True)
class Option:
    """A plan and the pipeline that runs it."""

    plan: SamplingPlan
    pipe: LuminaVideoPipeline


@dataclass(frozen=True)
class Clip:
    """One clip: steps that were computed, CPU seconds, PSNR in dB (None: the exact one), accuracy 0 to 1, motion."""

    computed: list[int]
    seconds: float
    psnr: float | None
    accuracy: float
    motion: float


def compare(count: int, options: Mapping[str, Option]) -> list[dict]:
    """A row of figures for every option, the exact one included.

    Every clip is sampled alone, each option in turn for every prompt, so other processes hardly change the ratios of
    CPU time.

    Args:
        count: prompts of held-out combinations.
        options: by name; one is named ``EXACT``.
    """
    clips = _clips(held_out_prompts(count), options)
    return [_row(name, options[name], clips[name], clips[EXACT]) for name in options]


def coarser(plan: SamplingPlan) -> SamplingPlan:
    """Every switch of patch size at twice its flow time."""
    return plan.replace(patch=Piecewise(plan.patch.values, tuple(2 * t for t in plan.patch.thresholds)))


def psnr(exact: torch.Tensor, found: torch.Tensor) -> float:
    """In dB; the peak is the range of ``exact``. Equal tensors give float32's own rounding, 150."""
    error = float((found - exact).square().mean().sqrt() / (exact.max() - exact.min()))
    return -20 * torch.log10(torch.tensor(max(error, 10**-7.5))).item()


def computed_shares(evaluations: Sequence[Evaluation], computed: list[int], clips: int) -> dict[tuple, float]:
    """Of each kind of evaluation (patch size, guided or not), the share that was computed and not reused."""
    total: dict[tuple, int] = {}
    kept: dict[tuple, int] = {}
    for evaluation in evaluations:
        total[_kind(evaluation)] = total.get(_kind(evaluation), 0) + clips
    for step in computed:
        kept[_kind(evaluations[step])] = kept.get(_kind(evaluations[step]), 0) + 1
    return {kind: kept.get(kind, 0) / number for kind, number in total.items()}


def _clips(prompts: list[Prompt], options: Mapping[str, Option]) -> dict[str, list[Clip]]:
    flow = dis_flow()
    clips: dict[str, list[Clip]] = {name: [] for name in options}
    for seed, prompt in enumerate(prompts):
        made = {name: _sampled(option, prompt, seed) for name, option in options.items()}
        exact = made[EXACT][0]
        for name, (latents, computed, seconds) in made.items():
            pipe = options[name].pipe
            frames = pipe.decode(latents)[0]
            clips[name].append(Clip(
                computed, seconds, None if name == EXACT else psnr(exact, latents),
                measure(frames, prompt).accuracy, motion_score(frames, pipe.defaults.fps, flow),
            ))  # fmt: skip
        progress(f"{seed + 1} of {len(prompts)} prompts")
    return clips


def _sampled(option: Option, prompt: Prompt, seed: int) -> tuple[torch.Tensor, list[int], float]:
    """Latents, the steps that were computed, and CPU seconds of this thread."""
    computed: list[int] = []

    def on_step(update: StepUpdate) -> None:
        if not update.reused:
            computed.append(update.step)

    noise = option.pipe.prepare_latents(option.pipe.defaults.size, (seed,))
    encoded = option.pipe.encode_prompt(prompt.text)
    started = time.thread_time()
    latents = option.pipe.denoise(noise, encoded, option.plan, callback=on_step).latents
    return latents, computed, time.thread_time() - started


def _row(name: str, option: Option, clips: list[Clip], exact: list[Clip]) -> dict:
    evaluations = list(option.plan.evaluations())
    computed = [step for clip in clips for step in clip.computed]
    shares = computed_shares(evaluations, computed, len(clips))
    accuracy = paired([c.accuracy for c in exact], [c.accuracy for c in clips])
    motion = paired([c.motion for c in exact], [c.motion for c in clips])
    whole = mean([c.motion for c in exact])
    here, default = (option.pipe.config, option.pipe.defaults.size.latent()), default_plan(option.pipe)
    released = VideoConfig(), preset_clip(RELEASED).size.latent()
    plan = PRESETS[RELEASED] if option.plan.patch == default.patch else coarser(PRESETS[RELEASED])
    real = _flops(list(plan.replace(context_drop=option.plan.context_drop).evaluations()), shares, *released)
    return {
        "option": name,
        "computed": len(computed) / len(clips),
        "of": len(evaluations),
        "flops": _flops(evaluations, shares, *here) / _flops(list(default.evaluations()), None, *here),
        "time": sum(c.seconds for c in clips) / sum(c.seconds for c in exact),
        "real_pflop": real / 1e15,
        "real_flops": real / _flops(list(PRESETS[RELEASED].evaluations()), None, *released),
        "psnr": None if clips[0].psnr is None else mean([c.psnr for c in clips if c.psnr is not None]),
        "accuracy": mean([c.accuracy for c in clips]),
        "accuracy_change": 100 * accuracy.mean,
        "accuracy_error": 100 * accuracy.error,
        "motion": mean([c.motion for c in clips]),
        "motion_change": 100 * motion.mean / whole,
        "motion_error": 100 * motion.error / whole,
    }


def _kind(evaluation: Evaluation) -> tuple[str, bool]:
    return str(evaluation.patch), evaluation.guided


def _flops(evaluations: list[Evaluation], shares: dict | None, config: VideoConfig, size) -> float:
    price = price_list(config, size)
    return sum(price(e, e.patch) * (1.0 if shares is None else shares[_kind(e)]) for e in evaluations)
