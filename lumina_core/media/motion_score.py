"""Motion scores: the mean optical flow of a clip, measured with the protocol of the released training data.

Protocol of the released code (tools/unimatch): frames 0.5 s apart from 0 to 4 s, resized to 320 x 576, flow from each
frame to the next, and the mean of its absolute components in pixels. The released scores come from UniMatch; OpenCV's
DIS is the default here, and any other estimator can be passed in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from ..shapes.frame_rate import check_fps
from .reader import frames_at

# Seconds at which frames are taken, as far as the clip lasts.
TIMES = tuple(0.5 * step for step in range(9))
# Resolution at which the flow is computed. Portrait frames are rotated first.
HEIGHT, WIDTH = 320, 576
# Names of a score in a JSONL record: that of the released code, and ours.
SCORE_KEYS = ("unimatch_flow", "motion")
_CELL = 4
_TOO_SHORT = "too short for a motion score, which compares frames 0.5 s apart; give a longer clip"

# Optical flow from one frame to the next: two (320, 576, 3) float32 in 0..1 to (320, 576, 2) pixels.
Flow = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def motion_score(frames: torch.Tensor, fps: float, flow: Flow | None = None) -> float:
    """Mean absolute flow of a clip, in pixels per half second at 320 x 576.

    Args:
        frames: (f, H, W, 3) float in 0..1.
        fps: frames per second.
        flow: the estimator, ``dis_flow()`` by default.

    Raises:
        LuminaError: another shape, an fps that is not positive, values that are not finite, or a clip too short for two
            frames 0.5 s apart.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.is_floating_point():
        raise LuminaError(
            f"The frames are {str(frames.dtype).removeprefix('torch.')} of shape {tuple(frames.shape)}, "
            "expected float (frames, height, width, 3) in 0..1.",
            field="frames",
            kind="value",
        )
    check_fps(fps)
    numbers = [number for time in TIMES if (number := round(time * fps)) < len(frames)]
    # At less than 1 fps one frame would be compared with itself.
    score = _mean_flow((_small(frames[number]) for number in numbers), flow) if len(frames) > 1 else None
    if score is None:
        count = "1 frame" if len(frames) == 1 else f"{len(frames)} frames"
        raise LuminaError(f"The clip, {count} at {fps:g} fps, is {_TOO_SHORT}.", field="frames", kind="value")
    return score


def file_motion_score(
    path: str | Path, flow: Flow | None = None, start: float = 0.0, seconds: float = math.inf
) -> float:
    """The same for a video file of any frame rate, or for a section of ``seconds`` from ``start``.

    Frames are selected by timestamp and decoded no further than needed; two are in memory at a time.

    Args:
        path: the video.
        flow: the estimator, ``dis_flow()`` by default.
        start, seconds: begin and length of the section.

    Raises:
        LuminaError: the file cannot be read or is too short.
    """
    times = [start + time for time in TIMES if time < seconds]
    score = _mean_flow((_small(frame.float() / 255) for frame in frames_at(path, times)), flow)
    if score is None:
        part = f" from {start:g} s on" if start else ""
        raise LuminaError(f"{path} is{part} {_TOO_SHORT}.", field="video", kind="value")
    return score


def dis_flow(preset: str = "fast") -> Flow:
    """OpenCV's dense inverse search (DIS) on grayscale frames. One estimator serves any number of clips.

    Args:
        preset: ultrafast, fast or medium.

    Raises:
        LuminaError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise LuminaError(
            f"Motion scores need OpenCV, which cannot be imported ({error}); run pip install opencv-python-headless.",
            field="opencv",
            kind="missing",
        ) from error
    # Flat areas carry no evidence of motion. Without a faint fixed pattern the search spreads nearby motion into them,
    # and codec noise raises the score by half.
    cells = torch.randint(-1, 2, (HEIGHT // _CELL, WIDTH // _CELL), generator=torch.Generator().manual_seed(0))
    pattern = cells.repeat_interleave(_CELL, 0).repeat_interleave(_CELL, 1)
    # The estimator is typed Any, because the stubs do not allow None for the initial flow.
    search: Any = cv2.DISOpticalFlow.create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))
    weights = torch.tensor([0.299, 0.587, 0.114])

    def gray(image: torch.Tensor):
        return (image @ weights * 255 + pattern).round().clamp(0, 255).to(torch.uint8).numpy()

    return lambda first, second: torch.from_numpy(search.calc(gray(first), gray(second), None))


def read_scores(path: str | Path) -> dict[str, float]:
    """Scores by path, from a JSONL file as written by the released code or by ``motion --out``.

    Raises:
        LuminaError: a line has no "path" or no score ("unimatch_flow" or "motion"), the file has both kinds of scores,
            whose scales differ, or it is empty.
    """
    source = Path(path)
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LuminaError(
            f"Scores {source} cannot be read ({error}); give a JSONL file in UTF-8.", field="scores", kind="file"
        ) from error
    scores: dict[str, float] = {}
    kinds: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, kind, scores[name] = _record(line, f"{source.name} line {number}")
            kinds.setdefault(kind, number)
    if len(kinds) > 1:
        raise LuminaError(
            f"{source.name} mixes two scales, {' and '.join(f'{kind} (line {kinds[kind]})' for kind in kinds)}; "
            "keep them in two files.",
            field="scores",
            kind="file",
        )
    if not scores:
        raise LuminaError(
            f'{source.name} contains no scores; write lines such as {{"path": ..., "{SCORE_KEYS[0]}": 2}}.',
            field="scores",
            kind="file",
        )
    return scores


def _record(line: str, place: str) -> tuple[str, str, float]:
    """Path, kind of score and score of one line."""
    expected = f'an object with "path" and a number as "{SCORE_KEYS[0]}" or "{SCORE_KEYS[1]}"'
    try:
        record = json.loads(line)
    except ValueError as error:
        raise LuminaError(
            f"{place} is not JSON ({error}), expected {expected}; fix or remove the line.", field="scores", kind="file"
        ) from error
    if not isinstance(record, dict) or not isinstance(record.get("path"), str):
        raise LuminaError(
            f'{place} has no "path", expected {expected}; fix or remove the line.', field="scores", kind="file"
        )
    kind = next((key for key in SCORE_KEYS if key in record), None)
    score = None if kind is None else record.get(kind)
    # bool is a subclass of int.
    value = float(score) if isinstance(score, (int, float)) and not isinstance(score, bool) else math.nan
    if kind is None or not (math.isfinite(value) and value >= 0):
        raise LuminaError(
            f"{place} has the score {score!r}, expected {expected}, 0 or more; fix or remove the line.",
            field="scores",
            kind="file",
        )
    return record["path"], kind, value


def _mean_flow(frames: Iterable[torch.Tensor], flow: Flow | None) -> float | None:
    """Mean absolute component over all consecutive pairs, in pixels; None if there is no pair."""
    flow = flow or dis_flow()
    means = [_mean_component(flow(first, second)) for first, second in pairwise(frames)]
    return sum(means) / len(means) if means else None


def _mean_component(flow: torch.Tensor) -> float:
    if flow.shape != (HEIGHT, WIDTH, 2) or not flow.isfinite().all():
        raise LuminaError(
            f"The flow estimator returned shape {tuple(flow.shape)}, or values that are not finite; it must return "
            f"({HEIGHT}, {WIDTH}, 2) pixels.",
            field="flow",
            kind="value",
        )
    return float(flow.abs().mean())


def _small(frame: torch.Tensor) -> torch.Tensor:
    """(H, W, 3) to (320, 576, 3) float32 on the CPU, resized as in the released code; portrait frames are rotated."""
    if not frame.isfinite().all():
        raise LuminaError(
            "The frames contain NaN or infinite values, expected 0..1; decode them again in another dtype.",
            field="frames",
            kind="numerics",
        )
    planes = frame.detach().to("cpu", torch.float32).permute(2, 0, 1)
    if planes.shape[1] > planes.shape[2]:
        planes = planes.mT
    return F.interpolate(planes[None], (HEIGHT, WIDTH), mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
