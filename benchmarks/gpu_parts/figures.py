"""What follows from the measurements: whole presets by their counts of evaluations, shares of the peak, memory."""

from __future__ import annotations

from collections import Counter

import torch

from lumina_core.sampling.plan import SamplingPlan
from lumina_core.sampling.presets import PRESETS

from .measure import Shape

RATIO_TARGETS = {"f16F64R512": 0.36, "f24F96R960": 0.30}
SHARE_TARGET = 0.60
DRAFT_PRESET, DRAFT_TARGET = "f16F64R512", 4.0
CARD, SMALL_CARD = 24e9, 12e9
"""Bytes."""
FINEST = "1x2"
Call = tuple[str, int]
"""Patch size and items of one network call."""


def calls_of(plan: SamplingPlan) -> Counter[Call]:
    """How often a bf16 run of a plan calls the network with what."""
    return Counter((str(e.patch), e.passes) for e in plan.evaluations(torch.bfloat16))


def conclude(result: dict, clips: tuple[Shape, ...], weight_bytes: int) -> dict:
    """The figures by preset and kind of run; None where a measurement that one needs is not there."""
    streamed = {row["preset"]: row["peak_bytes"] for row in result["streamed"] if row}
    found = {"weight_bytes": weight_bytes, "presets": []}
    for clip in clips:
        for kind in ("eager", "compiled"):
            rows = {(r["patch"], r["batch"]): r for r in result[kind] if r["preset"] == clip.preset}
            found["presets"].append(
                {"preset": clip.preset, "kind": kind, **_preset(clip.preset, rows, result["matmul"]["flops"]),
                 "streamed_bytes": streamed.get(clip.preset)}
            )  # fmt: skip
    found["draft_seconds"] = {kind: _draft(result[kind]) for kind in ("eager", "compiled")}
    return found


def _preset(name: str, rows: dict[Call, dict], peak: float) -> dict:
    multi, single = (calls_of(PRESETS[name + suffix]) for suffix in ("-MultiScale", ""))
    seconds = {key: _seconds(calls, rows) for key, calls in (("multi", multi), ("single", single))}
    shares = [r["flops"] / r["seconds"] / peak for (patch, _), r in rows.items() if patch == FINEST]
    return {
        "multi_seconds": seconds["multi"],
        "single_seconds": seconds["single"],
        "ratio": seconds["multi"] / seconds["single"] if None not in seconds.values() else None,
        "share": min(shares) if shares else None,
        "peak_bytes": _largest(multi, rows),
    }


def _draft(rows: list[dict]) -> float | None:
    own = {(r["patch"], r["batch"]): r for r in rows if r["preset"] == DRAFT_PRESET}
    return _seconds(calls_of(PRESETS[DRAFT_PRESET].replace(patch="2x4")), own)


def _seconds(calls: Counter[Call], rows: dict[Call, dict]) -> float | None:
    if any(call not in rows for call in calls):
        return None
    return sum(count * rows[call]["seconds"] for call, count in calls.items())


def _largest(calls: Counter[Call], rows: dict[Call, dict]) -> int | None:
    """Bytes at the peak of a whole run."""
    peaks = [rows[call]["peak_bytes"] if call in rows else None for call in calls]
    return None if None in peaks else max(peaks)
