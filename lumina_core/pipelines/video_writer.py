"""Clips into files, written while they are decoded, with metadata that says how each was made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

import torch

from ..checkpoints.video import find_weights
from ..errors import LuminaError
from ..media.contact_sheet import enlarge
from ..media.writer import check_target, write_image, write_video
from ..version import __version__
from .video import LuminaVideoPipeline
from .video_job import VideoJob

# Entry of a written file: one JSON object with what made the clip.
CLIP_KEY = "lumina_video"
MAX_SCALE = 32


@dataclass(frozen=True)
class WrittenClip:
    """A file: pixels, frames, frames per second, and the seed of the clip."""

    file: Path
    width: int
    height: int
    frames: int
    fps: float
    seed: int


def clip_targets(out: Path, job: VideoJob) -> tuple[Path, ...]:
    """The files of a call: ``out`` for one clip, else ``NAME-1.mp4``, ``NAME-2.mp4``, ... padded to equal length.

    Raises:
        LuminaError: one of them cannot be written, or the suffix is not .mp4, or .png for clips of one frame.
    """
    suffix = ".png" if job.size.frames == 1 else ".mp4"
    check_target(out, suffix)
    if job.clips == 1:
        return (out,)
    digits = len(str(job.clips))
    names = tuple(out.with_name(f"{out.stem}-{number:0{digits}}{out.suffix}") for number in range(1, job.clips + 1))
    for name in names:
        if name.is_dir():
            raise LuminaError(
                f"Output {name} is a folder, expected a file name; choose another --out.", field="out", kind="value"
            )
    return names


def write_clip(
    pipe: LuminaVideoPipeline,
    job: VideoJob,
    number: int,
    frames: Iterable[torch.Tensor],
    file: Path,
    scale: int = 1,
) -> WrittenClip:
    """Write one clip of a call as its frames arrive, a few at a time.

    Args:
        pipe: made the clip; the metadata names its files.
        job: the call.
        number: of the clip, from 0.
        frames: parts (f, H, W, 3) in 0..1, as ``LuminaVideoPipeline.decode_stream`` gives them.
        file: .mp4, or .png for one frame; replaced when it exists.
        scale: 1 to 32, pixels of the file per pixel of the clip, each side.

    Raises:
        LuminaError: the scale or the target is wrong, or a value is not finite; the file is then as it was.
    """
    check_scale(scale)
    enlarged = (enlarge(part, scale) for part in frames)
    metadata = {CLIP_KEY: json.dumps(describe(pipe, job, number), ensure_ascii=False)}
    if job.size.frames == 1:
        frame = torch.cat(list(enlarged))
        write_image(file, frame, metadata)
        return WrittenClip(file, frame.shape[2], frame.shape[1], 1, job.fps, job.seeds[number])
    info = write_video(file, enlarged, job.fps, metadata)
    return WrittenClip(file, info.width, info.height, info.frames, job.fps, job.seeds[number])


def check_scale(scale: int) -> int:
    """``scale``, if it is from 1 to ``MAX_SCALE``. Raises LuminaError."""
    if not 1 <= scale <= MAX_SCALE:
        raise LuminaError(f"scale is {scale}; write a whole number from 1 to {MAX_SCALE}.", field="scale", kind="value")
    return scale


def describe(pipe: LuminaVideoPipeline, job: VideoJob, number: int) -> dict[str, object]:
    """What made clip ``number`` of a call, for its metadata; ``SamplingPlan(**plan)`` gives the plan back."""
    made: dict[str, object] = {}
    if pipe.files.loras:
        made["loras"] = [{"file": lora.path.name, "strength": lora.strength} for lora in pipe.files.loras]
    if pipe.train_size is not None:
        made["train_size"] = list(astuple(pipe.train_size))
    if job.images is not None:
        made |= {"images": len(job.images), "hold": job.hold}
    if job.start or not job.finished:
        made |= {"start": job.start, "stop": job.stop}
    return made | {
        "version": __version__,
        "prompt": job.prompts[number],
        "negative_prompt": job.negative_prompts[number],
        "seed": job.seeds[number],
        "width": job.size.width,
        "height": job.size.height,
        "frames": job.size.frames,
        "fps": job.fps,
        "checkpoint": find_weights(pipe.files.checkpoint).name,
        "plan": job.plan.as_dict(),
    }
