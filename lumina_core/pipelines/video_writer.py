"""Writes clips to files while they are decoded, with metadata that says how each was made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

import torch

from ..errors import LuminaError
from ..media.contact_sheet import enlarge
from ..media.writer import check_target, write_image, write_video
from ..version import __version__
from .video import LuminaVideoPipeline
from .video_job import VideoJob

# Metadata entry of a written file: a JSON object with the settings of the clip.
CLIP_KEY = "lumina_video"
# Largest ``scale`` of ``write_clip``.
MAX_SCALE = 32


@dataclass(frozen=True)
class WrittenClip:
    """A written file: its size in pixels, frames, frames per second, and the seed of the clip."""

    file: Path
    width: int
    height: int
    frames: int
    fps: float
    seed: int


def clip_targets(out: Path, job: VideoJob) -> tuple[Path, ...]:
    """The files of a call: ``out`` for one clip, otherwise ``NAME-1.mp4``, ``NAME-2.mp4`` and so on, zero-padded.

    Raises:
        LuminaError: a file cannot be written, or the suffix is not .mp4 (.png for clips of one frame).
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
                f"Output {name} is a folder, expected the name of a file; choose another output.",
                field="out",
                kind="value",
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
    """Write one clip of a call as its frames are decoded.

    Args:
        pipe: the pipeline that made the clip; the metadata names its files.
        job: the call.
        number: of the clip in the call, from 0.
        frames: parts (f, H, W, 3) in 0..1, as ``LuminaVideoPipeline.decode_stream`` yields them.
        file: .mp4, or .png for one frame; an existing file is replaced.
        scale: side of a pixel of the clip in pixels of the file, 1 to 32.

    Raises:
        LuminaError: the scale or the file name is wrong, or a frame is not finite; an existing file is then unchanged.
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
    """Return ``scale``, a number from 1 to ``MAX_SCALE``. Raises LuminaError for anything else."""
    if not 1 <= scale <= MAX_SCALE:
        raise LuminaError(f"scale is {scale}; write a whole number from 1 to {MAX_SCALE}.", field="scale", kind="value")
    return scale


def describe(pipe: LuminaVideoPipeline, job: VideoJob, number: int) -> dict[str, object]:
    """The settings of clip ``number`` of a call, for its metadata; ``SamplingPlan(**plan)`` restores the plan."""
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
        "checkpoint": pipe.checkpoint.path.name,
        "plan": job.plan.as_dict(),
    }
