"""Whether the text alone decides the material of a stroke: each clip is asked for in each material and read back."""

from __future__ import annotations

import random

import torch

from benchmarks.common.audio_clips import AudioGenerator, Clip, with_material
from benchmarks.common.comparison import mean
from benchmarks.common.harness import progress
from lumina_core.mini.audio_captions import material_caption
from lumina_core.mini.audio_judge import UNCLEAR, judge_material
from lumina_core.mini.audio_world import FLASH, MATERIALS
from lumina_core.mini.captions import ENGLISH


def materials(model: AudioGenerator, clips: list[Clip]) -> dict:
    """`materials`: for every material asked for, shares of the clips by what they were read as. `right`: share read as
    asked, of the generated audio, the reference and its round trip through the codec, which bounds the reading."""
    asked = asked_clips(clips)
    # The same video and the same noise for all materials, so only the text differs.
    made = model.generate(asked, [place // len(MATERIALS) for place in range(len(asked))])
    progress(f"{len(asked)} clips by material")
    true = [clip.audio for clip in asked]
    sources = {"generated": made, "reference": true, "codec": [model.through_codec(wave) for wave in true]}
    tables = {name: _read(asked, waves) for name, waves in sources.items()}
    right = {name: mean([row[row["asked"]] for row in table]) for name, table in tables.items()}
    return {"material_clips": len(asked), "materials": tables["generated"], "right": right}


def asked_clips(clips: list[Clip]) -> list[Clip]:
    """Every clip with a stroke, once for each material, with a caption that names only the material."""
    rng = random.Random("sound benchmark captions")
    return [
        with_material(clip, material, material_caption(material, rng, ENGLISH))
        for clip in clips
        if any(event.kind != FLASH for event in clip.events)
        for material in MATERIALS
    ]


def _read(clips: list[Clip], waves: list[torch.Tensor]) -> list[dict]:
    counts = {material: dict.fromkeys((*MATERIALS, UNCLEAR), 0) for material in MATERIALS}
    for clip, wave in zip(clips, waves, strict=True):
        counts[clip.scene.material][judge_material(wave, clip.events)] += 1
    return [
        {"asked": name, **{read: number / max(1, sum(row.values())) for read, number in row.items()}}
        for name, row in counts.items()
    ]
