"""Trains the mini audio model's encoders: a CLIP and a sync encoder of the mini world, in one feature folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..runtime.atomic import atomic_write
from .audio_sync_encoder import AudioSyncRecipe, train_audio_sync
from .audio_text_encoder import AudioClipRecipe, train_audio_clip

CLIP, SYNC = "clip", "sync"  # subfolders
FIGURES = "trained.json"  # accuracy of each encoder on held-out scenes; written last


@dataclass(frozen=True, kw_only=True)
class AudioEncodersRecipe:
    """Training of both encoders; the sizes are those of ``AudioClipRecipe`` and ``AudioSyncRecipe``.

    Args:
        out: folder to write: clip/, sync/ and trained.json.
        clip_steps: training steps of the CLIP.
        sync_steps: training steps of the sync encoder.
        seed: random seed of both.
    """

    out: Path
    clip_steps: int = AudioClipRecipe.steps
    sync_steps: int = AudioSyncRecipe.steps
    seed: int = 0


def train_audio_encoders(
    recipe: AudioEncodersRecipe, report: Callable[[str, int, float], None] = lambda encoder, step, loss: None
) -> dict[str, dict[str, float]]:
    """Train and write both encoders.

    Args:
        recipe: folder and training steps.
        report: called with ``clip`` or ``sync``, step and loss after each step.

    Returns:
        Metrics on held-out scenes by encoder, see ``train_audio_clip`` and ``train_audio_sync``.
    """
    clip = AudioClipRecipe(out=recipe.out / CLIP, steps=recipe.clip_steps, seed=recipe.seed)
    sync = AudioSyncRecipe(out=recipe.out / SYNC, steps=recipe.sync_steps, seed=recipe.seed)
    figures = {
        CLIP: train_audio_clip(clip, lambda step, loss: report(CLIP, step, loss)),
        SYNC: train_audio_sync(sync, lambda step, loss: report(SYNC, step, loss)),
    }
    with atomic_write(recipe.out / FIGURES) as part:
        part.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures
