"""The mini bundle's encoders for sound: a CLIP and a sync encoder of the mini world, in one folder of features."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .sound_clip import SoundClipRecipe, train_sound_clip
from .sound_sync import SoundSyncRecipe, train_sound_sync

CLIP, SYNC = "clip", "sync"
FIGURES = "trained.json"
"""Written last: what was read right on new scenes, by each encoder."""


@dataclass(frozen=True, kw_only=True)
class SoundEncodersRecipe:
    """Training of both encoders; the sizes are those of ``SoundClipRecipe`` and ``SoundSyncRecipe``.

    Args:
        out: folder to write: clip/, sync/ and trained.json.
        clip_steps, sync_steps, seed: of the trainings.
    """

    out: Path
    clip_steps: int = SoundClipRecipe.steps
    sync_steps: int = SoundSyncRecipe.steps
    seed: int = 0


def train_sound_encoders(
    recipe: SoundEncodersRecipe, report: Callable[[str, int, float], None] = lambda encoder, step, loss: None
) -> dict[str, dict[str, float]]:
    """Train and write both; returns their figures on new scenes. ``report(encoder, step, loss)`` follows each step."""
    clip = SoundClipRecipe(out=recipe.out / CLIP, steps=recipe.clip_steps, seed=recipe.seed)
    sync = SoundSyncRecipe(out=recipe.out / SYNC, steps=recipe.sync_steps, seed=recipe.seed)
    figures = {
        CLIP: train_sound_clip(clip, lambda step, loss: report(CLIP, step, loss)),
        SYNC: train_sound_sync(sync, lambda step, loss: report(SYNC, step, loss)),
    }
    (recipe.out / FIGURES).write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures
