"""AV-Align: intersection over union of audio onsets and motion peaks.

Source: TempoTokens (arXiv 2309.16429), with the same optical flow, peaks and matching. It takes onsets from librosa;
these are from ``onsets.find_onsets``, which needs torchaudio only, so scores are close to published ones but not equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ..audio.frame_times import check_frames, frame_indices
from ..errors import LuminaError
from ..media.reader import frames_at, probe
from ..shapes.frame_rate import check_fps
from .onsets import find_onsets

FPS = 25.0  # frames per second of the optical flow; scores at other rates are not comparable
_MIN_MOTION = 0.1  # pixels per frame; weaker peaks are ignored
# Arguments of cv2.calcOpticalFlowFarneback, as in TempoTokens.
_FARNEBACK: dict[str, Any] = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}


def av_align(frames: torch.Tensor, fps: float, waveform: torch.Tensor) -> float | None:
    """AV-Align of a clip in memory, 0 to 1; None if there is neither an onset nor a motion peak.

    Args:
        frames: (n, H, W, 3) float in 0..1, at least two.
        fps: frames per second.
        waveform: (1, N) at 16 kHz.

    Raises:
        LuminaError: an argument is out of range, or OpenCV is not installed.
    """
    check_fps(fps)
    check_frames(frames)
    chosen = frame_indices(len(frames), fps, FPS, len(frames) / fps).tolist()
    return _score(find_onsets(waveform).times, _motion(frames[index] for index in chosen))


def av_align_file(
    path: str | Path, waveform: torch.Tensor, start: float = 0.0, seconds: float | None = None
) -> float | None:
    """AV-Align of a section of a video file and a waveform; see ``av_align``. Two frames are in memory at a time.

    Args:
        path: the video.
        waveform: (1, N) at 16 kHz, beginning at ``start``.
        start: seconds from the beginning of the video.
        seconds: duration, by default up to the end.

    Raises:
        LuminaError: the file cannot be read, the section has fewer than 2 frames, or OpenCV is not installed.
    """
    video = probe(path)
    seconds = video.seconds - start if seconds is None else seconds
    if not (math.isfinite(start) and math.isfinite(seconds) and start >= 0 and round(seconds * FPS) >= 2):
        raise LuminaError(
            f"AV-Align of {path} from {start} s for {seconds:.3g} s has fewer than 2 frames; use a longer section.",
            field="seconds",
            kind="value",
        )
    # The displayed frame is the one nearest to half a frame earlier. 0.499 allows for rounded timestamps.
    times = [max(0.0, start + index / FPS - 0.499 / video.fps) for index in range(round(seconds * FPS))]
    return _score(find_onsets(waveform).times, _motion(frame.float() / 255 for frame in frames_at(path, times)))


def motion_peaks(motion: Sequence[float], fps: float = FPS) -> list[float]:
    """Times in seconds of local maxima of ``motion``, pixels per frame at ``fps``, of at least 0.1."""
    return [
        index / fps
        for index in range(1, len(motion) - 1)
        if motion[index] > max(motion[index - 1], motion[index + 1]) and motion[index] >= _MIN_MOTION
    ]


def peak_iou(onsets: Sequence[float], motions: Sequence[float], tolerance: float) -> float | None:
    """Intersection over union of two lists of times in seconds; times closer than ``tolerance`` are the same.

    Returns None if both lists are empty.
    """
    if not onsets and not motions:
        return None
    unmatched = list(motions)
    for time in onsets:
        match = next((other for other in unmatched if abs(other - time) < tolerance), None)
        if match is not None:
            unmatched.remove(match)
    matches = len(motions) - len(unmatched)
    return matches / (len(onsets) + len(motions) - matches)


def _score(onsets: Sequence[float], motion: list[float]) -> float | None:
    return peak_iou(onsets, motion_peaks(motion), 1 / FPS)


def _motion(frames: Iterable[torch.Tensor]) -> list[float]:
    """Mean flow magnitude into each frame (H, W, 3), in pixels; the first frame gets that of the second."""
    flow = list(_flow_magnitudes(frames))
    return flow[:1] + flow


def _flow_magnitudes(frames: Iterable[torch.Tensor]) -> Iterator[float]:
    try:
        import cv2
    except ImportError as error:
        raise LuminaError(
            f"AV-Align needs OpenCV, which cannot be imported ({error}); run pip install opencv-python-headless.",
            field="opencv",
            kind="missing",
        ) from error
    # Typed Any, because the stubs do not allow None for the initial flow.
    farneback: Any = cv2.calcOpticalFlowFarneback
    weights = torch.tensor([0.299, 0.587, 0.114])
    gray = ((frame.cpu() @ weights * 255).round().clamp(0, 255).to(torch.uint8).numpy() for frame in frames)
    for before, after in pairwise(gray):
        flow = torch.from_numpy(farneback(before, after, None, **_FARNEBACK))
        yield float(flow.norm(dim=-1).mean())
