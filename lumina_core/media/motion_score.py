"""Motion scores: how much moves in a clip, as mean optical flow, measured as the released training data was.

The protocol is that of the released code (tools/unimatch): frames 0.5 s apart from 0 to 4 s, resized to 320 x 576, the
flow from each to the next, and the mean of its absolute components in pixels. The released scores were made with
UniMatch; here OpenCV's DIS is the default, and any other estimator can be given in its place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from .reader import frames_at

TIMES = tuple(0.5 * step for step in range(9))
"""Seconds at which frames are taken, as far as the clip goes."""
HEIGHT, WIDTH = 320, 576
"""Pixels of the picture that flow is measured in; a portrait picture is turned on its side for it."""
SCORE_KEYS = ("unimatch_flow", "motion")
"""Names of a score in a JSONL record: that of the released code, and ours."""
_CELL = 4
_TOO_SHORT = "too short for a motion score, which compares frames 0.5 s apart; give a longer clip"

Flow = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Optical flow from one picture to the next: two (320, 576, 3) float32 in 0..1 to (320, 576, 2) pixels."""


def motion_score(frames: torch.Tensor, fps: float, flow: Flow | None = None) -> float:
    """Mean absolute flow of a clip, in pixels per half second of a picture of 320 x 576.

    frames: (f, H, W, 3) float in 0..1. flow: the estimator, `dis_flow()` where none is given.
    Raises LuminaError for another shape, an fps that is not above 0, values that are not finite, and a clip too short
    for two frames 0.5 s apart.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.is_floating_point():
        raise LuminaError(
            f"The frames are {str(frames.dtype).removeprefix('torch.')} of shape {tuple(frames.shape)}, "
            "expected float (frames, height, width, 3) in 0..1."
        )
    check_fps(fps)
    numbers = [number for time in TIMES if (number := round(time * fps)) < len(frames)]
    # At less than 1 fps one frame would be compared with itself.
    score = _mean_flow((_small(frames[number]) for number in numbers), flow) if len(frames) > 1 else None
    if score is None:
        count = "1 frame" if len(frames) == 1 else f"{len(frames)} frames"
        raise LuminaError(f"The clip, {count} at {fps:g} fps, is {_TOO_SHORT}.")
    return score


def check_fps(fps: float) -> None:
    """Raise LuminaError unless a clip can have that many frames per second."""
    if not (math.isfinite(fps) and fps > 0):
        raise LuminaError(f"fps is {fps}, expected a number above 0; give the frames per second of the clip.")


def file_motion_score(
    path: str | Path, flow: Flow | None = None, start: float = 0.0, seconds: float = math.inf
) -> float:
    """The same for a video file of any frame rate, or for its part of `seconds` from `start`.

    Frames are taken by their timestamps and decoded no further than needed; two are held at a time.
    Raises LuminaError that names the file where it cannot be read, or is too short.
    """
    times = [start + time for time in TIMES if time < seconds]
    score = _mean_flow((_small(frame.float() / 255) for frame in frames_at(path, times)), flow)
    if score is None:
        part = f" from {start:g} s on" if start else ""
        raise LuminaError(f"{path} is{part} {_TOO_SHORT}.")
    return score


def dis_flow(preset: str = "fast") -> Flow:
    """Dense inverse search (DIS) of OpenCV on grey pictures; presets are ultrafast, fast and medium.

    Raises LuminaError where OpenCV is not installed. One estimator serves any number of clips.
    """
    try:
        import cv2
    except ImportError as error:
        raise LuminaError(
            f"Motion scores need OpenCV, which cannot be imported ({error}); run pip install opencv-python-headless."
        ) from error
    # Flat areas say nothing of motion: without a faint pattern that stays in place the search carries the motion of
    # what is near into them, and a codec's noise counts half as much again.
    cells = torch.randint(-1, 2, (HEIGHT // _CELL, WIDTH // _CELL), generator=torch.Generator().manual_seed(0))
    pattern = cells.repeat_interleave(_CELL, 0).repeat_interleave(_CELL, 1)
    search = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))
    weights = torch.tensor([0.299, 0.587, 0.114])

    def grey(picture: torch.Tensor):
        return (picture @ weights * 255 + pattern).round().clamp(0, 255).to(torch.uint8).numpy()

    return lambda first, second: torch.from_numpy(search.calc(grey(first), grey(second), None))


def read_scores(path: str | Path) -> dict[str, float]:
    """Scores by the path that each line of a JSONL record names, as the released code or `motion --out` writes it.

    Raises LuminaError that names the line for one that is no record with "path" and a score ("unimatch_flow" or
    "motion"), for both kinds in one file, as their scales differ, and for a file without lines.
    """
    source = Path(path)
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LuminaError(f"Scores {source} cannot be read ({error}); give a JSONL file in UTF-8.") from error
    scores: dict[str, float] = {}
    kinds: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, kind, scores[name] = _record(line, f"{source.name} line {number}")
            kinds.setdefault(kind, number)
    if len(kinds) > 1:
        raise LuminaError(
            f"{source.name} mixes two scales, {' and '.join(f'{kind} (line {kinds[kind]})' for kind in kinds)}; "
            "keep them in two files."
        )
    if not scores:
        raise LuminaError(
            f'{source.name} holds no scores; expected lines such as {{"path": ..., "{SCORE_KEYS[0]}": 2}}.'
        )
    return scores


def _record(line: str, place: str) -> tuple[str, str, float]:
    """Path, kind of score and score of one line."""
    expected = f'an object with "path" and a number as "{SCORE_KEYS[0]}" or "{SCORE_KEYS[1]}"'
    try:
        record = json.loads(line)
    except ValueError as error:
        raise LuminaError(f"{place} is not JSON ({error}), expected {expected}; mend or remove the line.") from error
    if not isinstance(record, dict) or not isinstance(record.get("path"), str):
        raise LuminaError(f'{place} has no "path", expected {expected}; mend or remove the line.')
    kind = next((key for key in SCORE_KEYS if key in record), None)
    score = record.get(kind)
    # true and false are numbers to Python.
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not (math.isfinite(score) and score >= 0):
        raise LuminaError(f"{place} has the score {score!r}, expected {expected}, 0 or more; mend or remove the line.")
    return record["path"], kind, float(score)


def _mean_flow(pictures: Iterable[torch.Tensor], flow: Flow | None) -> float | None:
    """Mean absolute component over every pair of neighbours, in pixels; None where there is no pair."""
    flow = flow or dis_flow()
    means = [_mean_component(flow(first, second)) for first, second in pairwise(pictures)]
    return sum(means) / len(means) if means else None


def _mean_component(flow: torch.Tensor) -> float:
    if flow.shape != (HEIGHT, WIDTH, 2) or not flow.isfinite().all():
        raise LuminaError(
            f"The flow estimator gave shape {tuple(flow.shape)}, or values that are not finite; expected "
            f"({HEIGHT}, {WIDTH}, 2) pixels."
        )
    return float(flow.abs().mean())


def _small(frame: torch.Tensor) -> torch.Tensor:
    """(H, W, 3) to (320, 576, 3) float32 on the CPU, resized as the released code does; portrait goes on its side."""
    if not frame.isfinite().all():
        raise LuminaError("The frames hold values that are not finite, expected 0..1; decode again in another dtype.")
    planes = frame.detach().to("cpu", torch.float32).permute(2, 0, 1)
    if planes.shape[1] > planes.shape[2]:
        planes = planes.mT
    return F.interpolate(planes[None], (HEIGHT, WIDTH), mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
