"""When the sounds begin, beside when something happens: onset F1, lag, and the control with another clip's events."""

from __future__ import annotations

import torch

from lumina_core.evaluation.onsets import Agreement, find_onsets, match, pooled

from .voice import RATES, Clip

ALL = "all"


def timing(clips: list[Clip], sounds: list[torch.Tensor]) -> dict[str, dict]:
    """Figures of the clips of each rate and of all; sound i belongs to clip i.

    The control compares sound i with the events of clip i + 1: what an equally busy sound that does not follow the
    video would reach.
    """
    found = [find_onsets(sound).times for sound in sounds]
    right = [match(times, clip.times) for times, clip in zip(found, clips, strict=True)]
    shuffled = [match(times, clip.times) for times, clip in zip(found, clips[1:] + clips[:1], strict=True)]
    groups = {f"{rate:g} fps": [i for i, clip in enumerate(clips) if clip.fps == rate] for rate in RATES}
    groups[ALL] = list(range(len(clips)))
    return {
        name: _row(pooled(right[i] for i in places), pooled(shuffled[i] for i in places), len(places))
        for name, places in groups.items()
        if places
    }


def _row(right: Agreement, shuffled: Agreement, clips: int) -> dict:
    lag = right.mean_absolute_lag
    return {
        "clips": clips,
        "events": right.true,
        "onsets": right.found,
        "f1": right.f1,
        "precision": right.precision,
        "recall": right.recall,
        "lag_ms": None if lag is None else 1000 * lag,
        "mean_lag_ms": 1000 * sum(right.lags) / len(right.lags) if right.lags else None,
        "shuffled_f1": shuffled.f1,
    }
