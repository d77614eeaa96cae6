"""The table of the approximate options: what each saves, what it costs, and whether the recommended one holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from performance import section

from lumina_core.cost.flops import price_list
from lumina_core.network.config import VideoConfig
from lumina_core.sampling.plan import Evaluation, SamplingPlan
from lumina_core.sampling.presets import PRESETS, preset_clip
from lumina_core.sampling.step_cache import RECOMMENDED
from lumina_core.shapes.schedules import Piecewise

from .mini import Mini
from .sections import prose, table
from .statistics import paired

REAL = "f24F96R960-MultiScale"
MOST_LOST = 1.0
"""Points of accuracy that the recommended setting may lose."""
MOST_MOTION = 5.0
"""Per cent of the motion score that it may change."""
INTRODUCTION = (
    "All are off by default. The mini bundle makes the same {prompts} clips (prompts of combinations that were never "
    "trained, plan `{preset}`, float32, one clip at a time) exactly and with each option, from the same noise. "
    "Accuracy is the mean of colour, shape and direction as `lumina_core/mini/judge.py` reads them, motion the "
    "measured optical flow; changes are against the exact clips, ± one standard error over the same prompts and "
    "noises. PSNR is that of the latents, with the exact latents' range as peak, the mean over clips. Time is "
    "CPU time of one thread over the exact clips'; other processes used {others} cores meanwhile."
)
READING = (
    "FLOPs at {size} are those of `{real}`, computed: of each kind of evaluation (patch size, guided or not) the share "
    "that was reused on the mini bundle is left out. The mini plan has 30 steps and the released ones 69, whose "
    "neighbours lie closer together, so a tolerance reuses other shares there; that and quality at the real size are "
    "not yet measured. 8-bit weights are rounded as the host stores them; they halve the memory of bf16 weights and "
    "save no FLOPs. What they do to time needs a GPU: not yet measured. EasyCache is the host's own node; it "
    "knows nothing of our switches of patch size, guidance and motion score: it carries its forecast across them. Its "
    "measure takes every eighth latent pixel, which is one pixel of the mini bundle's frames."
)

HOST = (
    "By flags of ComfyUI, not yet measured for want of a GPU. `--fast fp8_matrix_mult` multiplies in fp8 where the "
    "loader's weight_dtype is fp8_e4m3fn and the card has fp8 units (NVIDIA, compute capability 8.9 or later); layers "
    "with a LoRA multiply in the run's dtype. `--use-sage-attention` reaches our blocks like every attention that the "
    "host chooses or another node puts in its place (`tests/host/test_step_cache.py` injects one), but the "
    "SageAttention 2 package takes heads of up to 128 and the released network's have 144, so the host logs an error "
    "for each call and uses torch's."
)


@dataclass(frozen=True)
class Option:
    """A plan and the network that runs it."""

    plan: SamplingPlan
    model: torch.nn.Module


@dataclass(frozen=True)
class Clip:
    """One clip: steps that were computed, CPU seconds (None: not comparable), PSNR in dB (None: the exact one),
    accuracy 0 to 1, motion score."""

    computed: list[int]
    seconds: float | None
    psnr: float | None
    accuracy: float
    motion: float


def coarser(plan: SamplingPlan) -> SamplingPlan:
    """Every switch of patch size at twice its flow time."""
    return plan.replace(patch=Piecewise(plan.patch.values, tuple(2 * t for t in plan.patch.thresholds)))


def psnr(exact: torch.Tensor, found: torch.Tensor) -> float:
    """In dB; the peak is the range of ``exact``. Equal tensors give that of float32's own rounding, 150."""
    error = float((found - exact).square().mean().sqrt() / (exact.max() - exact.min()))
    return -20 * torch.log10(torch.tensor(max(error, 10**-7.5))).item()


def rows(mini: Mini, clips: dict[str, list[Clip]], options: dict[str, Option], exact: str) -> list[dict]:
    """A row of figures for every option; those that are no option of ours have the exact one's plan."""
    return [_row(mini, name, found, clips[exact], options.get(name, options[exact])) for name, found in clips.items()]


def _row(mini: Mini, name: str, clips: list[Clip], exact: list[Clip], option: Option) -> dict:
    evaluations = list(option.plan.evaluations())
    computed = [step for clip in clips for step in clip.computed]
    kept = kept_shares(evaluations, computed, len(clips))
    accuracy = paired([c.accuracy for c in exact], [c.accuracy for c in clips])
    motion = paired([c.motion for c in exact], [c.motion for c in clips])
    whole = sum(c.motion for c in exact) / len(exact)
    timed = all(c.seconds is not None for c in clips)
    cost = _cost(list(mini.default.evaluations()), None, mini.model.config, mini.size)
    real = _real_plan(mini, option.plan)
    size, reference = preset_clip(REAL).size.latent(), list(PRESETS[REAL].evaluations())
    real_cost = _cost(reference, None, VideoConfig(), size)
    return {
        "option": name,
        "computed": len(computed) / len(clips),
        "of": len(evaluations),
        "flops": _cost(evaluations, kept, mini.model.config, mini.size) / cost,
        "time": sum(c.seconds for c in clips) / sum(c.seconds for c in exact) if timed else None,
        "real_pflop": _cost(list(real.evaluations()), kept, VideoConfig(), size) / 1e15,
        "real_flops": _cost(list(real.evaluations()), kept, VideoConfig(), size) / real_cost,
        "psnr": None if clips[0].psnr is None else sum(c.psnr for c in clips) / len(clips),
        "accuracy": 100 * sum(c.accuracy for c in clips) / len(clips),
        "accuracy_change": 100 * accuracy.mean,
        "accuracy_error": 100 * accuracy.error,
        "motion": sum(c.motion for c in clips) / len(clips),
        "motion_change": 100 * motion.mean / whole,
        "motion_error": 100 * motion.error / whole,
    }


def _real_plan(mini: Mini, plan: SamplingPlan) -> SamplingPlan:
    real = coarser(PRESETS[REAL]) if plan.patch != mini.default.patch else PRESETS[REAL]
    return real.replace(context_drop=plan.context_drop)


def kept_shares(evaluations: list[Evaluation], computed: list[int], clips: int) -> dict[tuple, float]:
    """Of each kind of evaluation (patch size, guided or not), the share that was computed."""
    total: dict[tuple, int] = {}
    kept: dict[tuple, int] = {}
    for e in evaluations:
        total[_kind(e)] = total.get(_kind(e), 0) + clips
    for step in computed:
        kind = _kind(evaluations[step])
        kept[kind] = kept.get(kind, 0) + 1
    return {kind: kept.get(kind, 0) / count for kind, count in total.items()}


def _kind(evaluation: Evaluation) -> tuple[str, bool]:
    return str(evaluation.patch), evaluation.guided


def _cost(evaluations: list[Evaluation], kept: dict | None, config: VideoConfig, size) -> float:
    price = price_list(config, size)
    return sum(price(e, e.patch) * (1.0 if kept is None else kept[_kind(e)]) for e in evaluations)


def headline(found: list[dict]) -> dict:
    """The recommended setting's figures, and whether it stays within its bounds."""
    row = next((row for row in found if row["option"] == f"step cache {RECOMMENDED:g}"), None)
    if row is None:
        return {"recommended": RECOMMENDED, "met": None}
    held = row["accuracy_change"] >= -MOST_LOST and abs(row["motion_change"]) <= MOST_MOTION
    return {
        "recommended": RECOMMENDED,
        "met": held,
        **{name: row[name] for name in ("accuracy_change", "accuracy_error", "motion_change", "motion_error")},
        "speedup": 1 / row["flops"],
        "real_speedup": 1 / row["real_flops"],
    }


def document(result: dict, command: str) -> str:
    """The section of docs/performance.md."""
    size = preset_clip(REAL).size
    named = f"{size.width}x{size.height}x{size.frames}"
    head = ["option", "evaluations", "FLOPs", "time", f"FLOPs at {named}", "PSNR, dB", "accuracy", "change, points",
            "motion", "change, %"]  # fmt: skip
    cells = [
        [
            r["option"], f"{r['computed']:.1f} of {r['of']}", f"{r['flops']:.2f}", _or_dash(r["time"], ".2f"),
            f"{r['real_pflop']:.1f} PFLOP ({r['real_flops']:.2f})", _or_dash(r["psnr"], ".1f"),
            f"{r['accuracy']:.1f} %", f"{r['accuracy_change']:+.1f} ± {r['accuracy_error']:.1f}",
            f"{r['motion']:.2f}", f"{r['motion_change']:+.1f} ± {r['motion_error']:.1f}",
        ]
        for r in result["rows"]
    ]  # fmt: skip
    others = "an unknown number of" if result["others_cores"] is None else f"{result['others_cores']:.1f}"
    said = prose(INTRODUCTION.format(prompts=result["prompts"], preset="mini-MultiScale", others=others))
    read = prose(READING.format(size=named, real=REAL))
    return section("approximate", said, table(head, cells), _verdict(result), read, prose(HOST), command=command)


def _verdict(result: dict) -> str:
    if result["met"] is None:
        return prose(f"The recommended tolerance of {result['recommended']:g} was not measured in this run.")
    return prose(
        f"Recommended, and the node's default: step cache with tolerance {result['recommended']:g}. It changes "
        f"accuracy by {result['accuracy_change']:+.1f} ± {result['accuracy_error']:.1f} points and motion by "
        f"{result['motion_change']:+.1f} ± {result['motion_error']:.1f} %, within the bounds of {MOST_LOST:g} point "
        f"lost and {MOST_MOTION:g} %: {'yes' if result['met'] else '**no**'}. It divides the FLOPs by "
        f"{result['speedup']:.2f}, and those at the real size by {result['real_speedup']:.2f} as computed."
    )


def _or_dash(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
