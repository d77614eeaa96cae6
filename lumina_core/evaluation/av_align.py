"""AV-Align: how many of the moments at which a sound begins are moments at which the picture moves most.

Source: TempoTokens (arXiv 2309.16429), whose flow, peaks and matching these are. Its onsets are librosa's; these are
those of `onsets.find_onsets`, which need nothing but torchaudio, so scores are near the published ones, not equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch

from ..audio.frame_times import check_frames, frame_indices
from ..errors import LuminaError
from ..media.reader import frames_at, probe
from ..shapes.frame_rate import check_fps
from .onsets import find_onsets

FPS = 25.0
"""Frames a second that flow is measured at; scores at other rates are not comparable."""
_LEAST_MOTION = 0.1
"""Pixels a frame that a moment of motion has at least."""
_FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}


def av_align(frames: torch.Tensor, fps: float, waveform: torch.Tensor) -> float | None:
    """The score of a clip in memory, 0 to 1; None where neither the sound nor the picture has any peak.

    frames: (n, H, W, 3) float in 0..1, at least two, shown at ``fps``. waveform: (1, N) at 16 kHz. Raises LuminaError.
    """
    check_fps(fps)
    check_frames(frames)
    chosen = frame_indices(len(frames), fps, FPS, len(frames) / fps).tolist()
    return _score(find_onsets(waveform).times, _motion(frames[place] for place in chosen))


def av_align_file(
    path: str | Path, waveform: torch.Tensor, start: float = 0.0, seconds: float | None = None
) -> float | None:
    """The score of a video file, or of a part of it, with a sound (1, N) at 16 kHz that begins at ``start``.

    Holds two frames. Raises LuminaError.
    """
    video = probe(path)
    seconds = video.seconds - start if seconds is None else seconds
    if not (math.isfinite(start) and math.isfinite(seconds) and start >= 0 and round(seconds * FPS) >= 2):
        raise LuminaError(
            f"AV-Align of {path} from {start} s on for {seconds:.3g} s has fewer than 2 frames; take a longer part."
        )
    # The frame nearest to half a frame ago is the one on the screen; a little less, for times in files are rounded.
    times = [max(0.0, start + number / FPS - 0.499 / video.fps) for number in range(round(seconds * FPS))]
    return _score(find_onsets(waveform).times, _motion(frame.float() / 255 for frame in frames_at(path, times)))


def motion_peaks(motion: Sequence[float], fps: float = FPS) -> list[float]:
    """Times in seconds of the frames that move more than both neighbors, and enough to be seen."""
    return [
        place / fps
        for place in range(1, len(motion) - 1)
        if motion[place] > max(motion[place - 1], motion[place + 1]) and motion[place] >= _LEAST_MOTION
    ]


def agreement(sounds: Sequence[float], motions: Sequence[float], apart: float) -> float | None:
    """Matches over everything there is: |A and P| / |A or P|, two times being one if less than ``apart`` away."""
    if not sounds and not motions:
        return None
    left = list(motions)
    for time in sounds:
        match = next((other for other in left if abs(other - time) < apart), None)
        if match is not None:
            left.remove(match)
    matches = len(motions) - len(left)
    return matches / (len(sounds) + len(motions) - matches)


def _score(sounds: Sequence[float], motion: list[float]) -> float | None:
    return agreement(sounds, motion_peaks(motion), 1 / FPS)


def _motion(frames: Iterable[torch.Tensor]) -> list[float]:
    """Mean length of the flow into each frame (H, W, 3), in pixels; the first one's is that of the second."""
    flow = list(_flow_lengths(frames))
    return flow[:1] + flow


def _flow_lengths(frames: Iterable[torch.Tensor]) -> Iterator[float]:
    try:
        import cv2
    except ImportError as error:
        raise LuminaError(
            f"AV-Align needs OpenCV, which cannot be imported ({error}); run pip install opencv-python-headless."
        ) from error
    weights = torch.tensor([0.299, 0.587, 0.114])
    gray = ((frame.cpu() @ weights * 255).round().clamp(0, 255).to(torch.uint8).numpy() for frame in frames)
    for before, after in pairwise(gray):
        flow = torch.from_numpy(cv2.calcOpticalFlowFarneback(before, after, None, **_FARNEBACK))
        yield float(flow.norm(dim=-1).mean())
