"""When onsets are heard against when events happen: onset F1, lag, and a control with another clip's events."""

from __future__ import annotations

import torch

from benchmarks.common.audio_clips import RATES, Clip
from lumina_core.evaluation.onsets import Agreement, find_onsets, match, pooled

ALL = "all"


def timing(clips: list[Clip], waves: list[torch.Tensor]) -> list[dict]:
    """Figures of the clips of each frame rate and of all; audio i belongs to clip i.

    The control compares audio i with the events of clip i + 1: what equally busy audio that ignores the video reaches.
    """
    found = [find_onsets(wave).times for wave in waves]
    right = [match(times, clip.times) for times, clip in zip(found, clips, strict=True)]
    control = [match(times, clip.times) for times, clip in zip(found, clips[1:] + clips[:1], strict=True)]
    groups = {f"{rate:g} fps": [i for i, clip in enumerate(clips) if clip.fps == rate] for rate in RATES}
    groups[ALL] = list(range(len(clips)))
    return [
        {"rate": name, "clips": len(places),
         **figures_of(pooled(right[i] for i in places)), "control_f1": pooled(control[i] for i in places).f1}
        for name, places in groups.items() if places
    ]  # fmt: skip


def figures_of(agreement: Agreement) -> dict:
    """Counts, F1, precision, recall, mean absolute lag and mean offset (positive: late) in ms."""
    lags, lag = agreement.lags, agreement.mean_absolute_lag
    return {
        "events": agreement.true,
        "onsets": agreement.found,
        "f1": agreement.f1,
        "precision": agreement.precision,
        "recall": agreement.recall,
        "lag_ms": None if lag is None else 1000 * lag,
        "offset_ms": 1000 * sum(lags) / len(lags) if lags else None,
    }
