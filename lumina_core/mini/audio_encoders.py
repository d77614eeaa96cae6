"""The mini bundle's encoders for sound: a CLIP and a sync encoder of the mini world, in one folder of features."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .audio_sync_encoder import AudioSyncRecipe, train_audio_sync
from .audio_text_encoder import AudioClipRecipe, train_audio_clip

CLIP, SYNC = "clip", "sync"
FIGURES = "trained.json"
"""Written last: what was read right on new scenes, by each encoder."""


@dataclass(frozen=True, kw_only=True)
class AudioEncodersRecipe:
    """Training of both encoders; the sizes are those of ``AudioClipRecipe`` and ``AudioSyncRecipe``.

    Args:
        out: folder to write: clip/, sync/ and trained.json.
        clip_steps, sync_steps, seed: of the trainings.
    """

    out: Path
    clip_steps: int = AudioClipRecipe.steps
    sync_steps: int = AudioSyncRecipe.steps
    seed: int = 0


def train_audio_encoders(
    recipe: AudioEncodersRecipe, report: Callable[[str, int, float], None] = lambda encoder, step, loss: None
) -> dict[str, dict[str, float]]:
    """Train and write both; returns their figures on new scenes. ``report(encoder, step, loss)`` follows each step."""
    clip = AudioClipRecipe(out=recipe.out / CLIP, steps=recipe.clip_steps, seed=recipe.seed)
    sync = AudioSyncRecipe(out=recipe.out / SYNC, steps=recipe.sync_steps, seed=recipe.seed)
    figures = {
        CLIP: train_audio_clip(clip, lambda step, loss: report(CLIP, step, loss)),
        SYNC: train_audio_sync(sync, lambda step, loss: report(SYNC, step, loss)),
    }
    (recipe.out / FIGURES).write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures
