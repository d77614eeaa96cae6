"""A short plan and a small video on the tiny set, for tests of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumina_core import LuminaVideoPipeline, SamplingPlan, VideoSize
from lumina_core.pipelines.video_writer import clip_targets, write_clip

PLAN = SamplingPlan(
    patch="2x4 | 0.3: 2x2 | 0.6: 1x2", guidance="4 | 0.5: 0", motion=6, negative_motion=2, renorm=2, points=6
)
CALL = {"prompt": "a cat on the sea", "size": VideoSize(64, 32, 16), "fps": 24, "plan": PLAN}
_FILES = ("checkpoint", "text_encoder", "vae", "loras")
_SETTINGS = (*_FILES, "device", "dtype", "compiled", "train_size", "vae_tile", "keep")


@dataclass(frozen=True)
class Made:
    """A file, and what it took."""

    file: Path
    width: int
    height: int
    frames: int
    fps: float
    nfe: int
    passes: int


def small_pipeline(tiny_set, **settings: Any) -> LuminaVideoPipeline:
    """A pipeline of the tiny set on the CPU; ``settings`` replace files and arguments."""
    files = {"checkpoint": tiny_set.model, "text_encoder": tiny_set.text, "vae": tiny_set.vae}
    return LuminaVideoPipeline.from_files(**{**files, "device": "cpu", **settings})


def make_clip(tiny_set, out: Path, observer=None, **changes: Any) -> Made:
    """From prompt to file, as the command line goes; ``changes`` replace settings of the pipeline or of the call."""
    settings = {name: value for name, value in changes.items() if name in _SETTINGS}
    pipe = small_pipeline(tiny_set, **settings)
    job = pipe.prepare(**{**CALL, **{name: value for name, value in changes.items() if name not in _SETTINGS}})
    (file,) = clip_targets(out, job)
    with pipe.run(job, observer) as found:
        clip = write_clip(pipe, job, 0, pipe.decode_stream(found.estimate, callback=observer), file)
    return Made(clip.file, clip.width, clip.height, clip.frames, clip.fps, found.nfe, found.passes)
