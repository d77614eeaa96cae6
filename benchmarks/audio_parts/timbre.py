"""Whether the text alone decides what a stroke is on: each clip is asked for as each material and read back."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch

from lumina_core.mini.audio_captions import material_caption
from lumina_core.mini.audio_judge import UNCLEAR, judge_material
from lumina_core.mini.audio_world import FLASH, MATERIALS
from lumina_core.mini.captions import ENGLISH

from .voice import Clip, Voice, with_material

MADE, ROUND_TRIP, TRUE = "made", "round_trip", "true"


def timbre(voice: Voice, clips: list[Clip], report: Callable[[int], None]) -> dict:
    """Of every material that is asked for: shares of the clips by what they were read as; and the same of the true
    sounds and of their round trips, which tells how far the reading can be trusted."""
    asked = asked_clips(clips)
    # The same video and the same noise for all materials, so that only the text differs.
    seeds = [place // len(MATERIALS) for place in range(len(asked))]
    tables = {MADE: _read(asked, voice.sounds(asked, seeds, report))}
    true = [clip.sound for clip in asked]
    tables[TRUE] = _read(asked, true)
    tables[ROUND_TRIP] = _read(asked, [voice.through_codec(sound) for sound in true])
    right = {name: _right(table) for name, table in tables.items()}
    return {"clips": len(asked), "right": right, "read": tables[MADE]}


def asked_clips(clips: list[Clip]) -> list[Clip]:
    """Every clip with a stroke, once for each material, with a caption that names nothing but the material."""
    rng = random.Random("sound benchmark captions")
    return [
        with_material(clip, material, material_caption(material, rng, ENGLISH))
        for clip in clips
        if any(event.kind != FLASH for event in clip.events)
        for material in MATERIALS
    ]


def _read(clips: list[Clip], sounds: list[torch.Tensor]) -> dict[str, dict[str, float]]:
    counts = {material: dict.fromkeys((*MATERIALS, UNCLEAR), 0) for material in MATERIALS}
    for clip, sound in zip(clips, sounds, strict=True):
        counts[clip.scene.material][judge_material(sound, clip.events)] += 1
    return {name: {read: n / max(1, sum(row.values())) for read, n in row.items()} for name, row in counts.items()}


def _right(table: dict[str, dict[str, float]]) -> float:
    return sum(row[name] for name, row in table.items()) / len(table)
