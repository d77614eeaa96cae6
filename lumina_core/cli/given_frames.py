"""Flags that give frames to ``generate``: an image to start with, a clip to continue, or a video to re-render."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from ..errors import LuminaError
from ..media.inputs import fit_frames, read_image
from ..media.reader import all_frames, probe
from ..sampling.frame_conditioning import HOLD, STRENGTH
from ..shapes.latents import FRAME_BATCH, VideoSize
from .options import existing, number, whole

_SOURCES = ("image", "continue", "video")


@dataclass(frozen=True)
class GivenFrames:
    """The frames that the flags give, as arguments of ``LuminaVideoPipeline``.

    Args:
        image: frames (N, H, W, 3) in 0..1 that the clip starts with; None for none.
        video: frames to re-render, of the same form; None for none.
        strength: of video-to-video, above 0 and up to 1; None is the default.
        hold: see ``sampling.frame_conditioning.release_times``.
        fps: frames per second of the given video; None for an image.
        continued: file of the clip that is continued, which is written before the new frames.
    """

    image: torch.Tensor | None = None
    video: torch.Tensor | None = None
    strength: float | None = None
    hold: float = HOLD
    fps: float | None = None
    continued: Path | None = None

    def before(self, size: VideoSize) -> Iterator[torch.Tensor]:
        """Frames (1, H, W, 3) to write before the new ones: those of the continued clip, resized to ``size``."""
        if self.continued is not None:
            for frame in all_frames(self.continued):
                yield fit_frames(_floats([frame]), size.width, size.height)


def add_given_frames_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags that give frames."""
    group = parser.add_argument_group(
        "given frames (cropped and resized to the size of the clip; one of --image, --continue, --video)"
    )
    group.add_argument("--image", metavar="FILE", help="image-to-video: the image that the clip starts with")
    group.add_argument(
        "--continue",
        metavar="FILE",
        dest="continue_",
        help="continuation: a video to extend; the output is that video followed by the new frames",
    )
    group.add_argument(
        "--context",
        type=whole,
        metavar="N",
        help=f"with --continue: how many last frames to condition on, a multiple of {FRAME_BATCH} (default "
        f"{FRAME_BATCH}); --frames includes them",
    )
    group.add_argument(
        "--hold",
        type=number,
        metavar="T",
        help=f"with --image or --continue: timestep up to which frames next to the given ones are held, 0 to 1; higher "
        f"values give a smoother transition, lower values more motion (default {HOLD})",
    )
    group.add_argument(
        "--video",
        metavar="FILE",
        help="video-to-video: a video to re-render with the prompt; its first frames, up to --frames, are used",
    )
    group.add_argument(
        "--strength",
        type=number,
        metavar="S",
        help="with --video: fraction of the steps that run, above 0 and up to 1; 1 keeps nothing of the video "
        f"(default {STRENGTH})",
    )


def given_frames(arguments: argparse.Namespace, frames: int) -> GivenFrames:
    """Read the frames that the flags give, for a clip of ``frames`` frames. Raises LuminaError."""
    _check_flags(arguments)
    hold = HOLD if arguments.hold is None else arguments.hold
    if arguments.image is not None:
        return GivenFrames(image=read_image(existing("--image", arguments.image)), hold=hold)
    if arguments.continue_ is not None:
        return _continued(existing("--continue", arguments.continue_), arguments.context, hold)
    if arguments.video is not None:
        return _video(existing("--video", arguments.video), frames, arguments.strength)
    return GivenFrames()


def _check_flags(arguments: argparse.Namespace) -> None:
    given = [name for name in _SOURCES if getattr(arguments, _attribute(name)) is not None]
    if len(given) > 1:
        raise LuminaError(
            f"--{given[0]} and --{given[1]} both give frames; give only one of them.",
            field=given[1],
            kind="value",
        )
    for flag, sources in (("strength", ("video",)), ("context", ("continue",)), ("hold", ("image", "continue"))):
        if getattr(arguments, flag) is not None and not set(sources) & set(given):
            needed = " or ".join(f"--{name}" for name in sources)
            raise LuminaError(
                f"--{flag} needs {needed}, which is not given; add it or leave --{flag} out.", field=flag, kind="value"
            )


def _attribute(name: str) -> str:
    """Attribute of a flag in the namespace; ``continue`` is a keyword of Python."""
    return "continue_" if name == "continue" else name


def _continued(file: Path, context: int | None, hold: float) -> GivenFrames:
    count = FRAME_BATCH if context is None else context
    if count < 1 or count % FRAME_BATCH:
        raise LuminaError(f"--context is {count}; write a multiple of {FRAME_BATCH}.", field="context", kind="value")
    fps = probe(file).fps
    last = list(deque(all_frames(file), maxlen=count))
    if len(last) < count:
        raise LuminaError(
            f"--continue {file} has {len(last)} frames, and {count} are needed; give a longer video, or --image with "
            "its last frame.",
            field="continue",
            kind="value",
        )
    return GivenFrames(image=_floats(last), hold=hold, fps=fps, continued=file)


def _video(file: Path, frames: int, strength: float | None) -> GivenFrames:
    fps = probe(file).fps
    found = list(islice(all_frames(file), frames))
    kept = 1 if frames == 1 else len(found) // FRAME_BATCH * FRAME_BATCH
    if not kept:
        raise LuminaError(
            f"--video {file} has {len(found)} frames; give a video of at least {FRAME_BATCH}.",
            field="video",
            kind="value",
        )
    return GivenFrames(video=_floats(found[:kept]), strength=strength, fps=fps)


def _floats(frames: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(frames).float() / 255
