"""Onset detection, and metrics that compare the onsets of two waveforms.

An onset is a peak of the spectral flux, which is the mean increase of the log-mel bands.
Source of accuracy and average precision: XYPB/CondFoleyGen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from ..audio.mel import FLOOR
from ..errors import LuminaError
from ..shapes.audio_rates import SAMPLE_RATE

MIN_GAP = 0.05  # seconds; of two onsets closer than this, only the stronger one counts
TOLERANCE = 0.1  # largest distance in seconds between matching onsets
# Spectral flux of an onset in nepers per 10 ms, above the local median. White noise stays below 0.2, an impact in
# silence reaches 2 and more.
THRESHOLD = 0.3
_WINDOW, _HOP, _BANDS = 512, 80, 40  # samples, samples, mel bands
_STEP = _HOP / SAMPLE_RATE  # seconds per frame
_LAG = 2  # the flux compares frames this far apart
_RELATIVE_FLOOR = 3e-3  # magnitudes 50 dB below the clip's loudest band are treated as silence
_SILENCE = 1e-4  # amplitude below which a clip is silent
_MEDIAN_REACH = 40  # frames on each side of the local median
_PEAK_OFFSET = 0.011  # seconds from the center of the window to the onset that causes the peak


@dataclass(frozen=True)
class Onsets:
    """Onsets of one waveform.

    Args:
        times: seconds, ascending.
        strengths: height of each peak above the local median of the flux, in nepers.
    """

    times: tuple[float, ...]
    strengths: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class Agreement:
    """Detected onsets compared with the reference; ``pooled`` adds up several clips.

    Args:
        found: number of detected onsets.
        true: number of reference onsets.
        lags: detected minus reference time of every matching pair in seconds; positive is late.
    """

    found: int
    true: int
    lags: tuple[float, ...]

    @property
    def precision(self) -> float | None:
        """Share of the detected onsets that match; None if none was detected."""
        return len(self.lags) / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of the reference onsets that match; None if there are none."""
        return len(self.lags) / self.true if self.true else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None if there are no onsets on either side."""
        return 2 * len(self.lags) / (self.found + self.true) if self.found + self.true else None

    @property
    def mean_absolute_lag(self) -> float | None:
        """Mean absolute lag in seconds; None if nothing matches."""
        return sum(map(abs, self.lags)) / len(self.lags) if self.lags else None


@torch.no_grad()
def find_onsets(waveform: torch.Tensor, threshold: float = THRESHOLD) -> Onsets:
    """Onsets of one waveform (1, N) at 16 kHz. Audio that is present from the first sample has no onset.

    Args:
        waveform: at least 42 ms.
        threshold: smallest flux above the local median, in nepers per 10 ms.

    Raises:
        LuminaError: another shape, a shorter waveform, or values that are not finite.
    """
    if waveform.ndim != 2 or waveform.shape[0] != 1 or waveform.shape[1] < _WINDOW + 2 * _HOP:
        raise LuminaError(
            f"The waveform has shape {tuple(waveform.shape)}, expected (1, samples) with "
            f"{_WINDOW + 2 * _HOP} samples or more at 16 kHz.",
            field="waveform",
            kind="value",
        )
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError(
            "The waveform contains NaN or infinite values; use another recording.", field="waveform", kind="numerics"
        )
    if waveform.abs().max() < _SILENCE:
        return Onsets((), ())
    flux = _flux(waveform.float())
    reach = round(MIN_GAP / _STEP)
    above = flux - _local_median(flux)
    highest = F.max_pool1d(flux[None], 2 * reach - 1, stride=1, padding=reach - 1)[0]
    peaks = ((flux == highest) & (above > threshold)).nonzero().flatten().tolist()
    times: list[float] = []
    strengths: list[float] = []
    for peak in peaks:
        time = (peak + _LAG / 2 + _peak_shift(flux, peak)) * _STEP + _WINDOW / 2 / SAMPLE_RATE + _PEAK_OFFSET
        # Equal adjacent maxima are one onset, at the first of them.
        if not times or time - times[-1] >= MIN_GAP / 2:
            times.append(time)
            strengths.append(float(above[peak]))
    return Onsets(tuple(times), tuple(strengths))


def match(found: Sequence[float], true: Sequence[float], tolerance: float = TOLERANCE) -> Agreement:
    """Match times in seconds one to one, closest pairs first, up to ``tolerance`` apart."""
    pairs = sorted(
        (abs(a - b), i, j) for i, a in enumerate(found) for j, b in enumerate(true) if abs(a - b) <= tolerance
    )
    used_found: set[int] = set()
    used_true: dict[int, float] = {}
    for _, i, j in pairs:
        if i not in used_found and j not in used_true:
            used_found.add(i)
            used_true[j] = found[i] - true[j]
    return Agreement(len(found), len(true), tuple(used_true[j] for j in sorted(used_true)))


def pooled(parts: Iterable[Agreement]) -> Agreement:
    """The sum over clips, so that each onset has the same weight."""
    parts = list(parts)
    return Agreement(
        sum(part.found for part in parts),
        sum(part.true for part in parts),
        tuple(lag for part in parts for lag in part.lags),
    )


def accuracy_and_precision(
    found: Onsets, true: Sequence[float], tolerance: float = TOLERANCE
) -> tuple[float | None, float | None]:
    """Onset accuracy and average precision of one clip, both None if there are no reference onsets.

    Each reference onset in turn is matched with the strongest remaining detection within ``tolerance`` seconds.
    Accuracy is the share of reference onsets with a match; average precision ranks the detections by strength.
    Reference onsets without a match add nothing. CondFoleyGen ranks them last instead, which gives silence a precision
    of 1.
    """
    if not true:
        return None, None
    left = list(range(len(found)))
    ranked: list[tuple[float, bool]] = []
    for time in true:
        near = [i for i in left if abs(found.times[i] - time) < tolerance]
        if near:
            best = max(near, key=lambda i: found.strengths[i])
            left.remove(best)
            ranked.append((found.strengths[best], True))
    hits = len(ranked)
    ranked += [(found.strengths[i], False) for i in left]
    return hits / len(true), _average_precision(ranked, len(true))


def _average_precision(ranked: list[tuple[float, bool]], total: int) -> float:
    """Sum of the precisions at every correct entry, divided by ``total``."""
    hits, area = 0, 0.0
    for rank, (_, right) in enumerate(sorted(ranked, key=lambda entry: -entry[0]), start=1):
        hits += right
        area += right * hits / rank
    return area / total


def _flux(waveform: torch.Tensor) -> torch.Tensor:
    """Spectral flux (n,): entry k is the increase from frame k to frame k + _LAG; frames are 5 ms apart."""
    bands = _transform().to(waveform.device)(waveform)[0]
    logs = (bands + max(_RELATIVE_FLOOR * float(bands.max()), FLOOR)).log()
    return (logs[:, _LAG:] - logs[:, :-_LAG]).clamp(min=0).mean(dim=0)


def _local_median(values: torch.Tensor) -> torch.Tensor:
    reach = min(_MEDIAN_REACH, len(values) - 1)
    return F.pad(values[None], (reach, reach), mode="reflect")[0].unfold(0, 2 * reach + 1, 1).median(dim=-1).values


def _peak_shift(values: torch.Tensor, index: int) -> float:
    """Offset of the maximum of a parabola through a peak and its neighbors, -0.5 to 0.5 frames."""
    if not 0 < index < len(values) - 1:
        return 0.0
    left, middle, right = (float(value) for value in values[index - 1 : index + 2])
    curve = left - 2 * middle + right
    return 0.0 if curve >= 0 else 0.5 * (left - right) / curve


@lru_cache(maxsize=1)
def _transform() -> torch.nn.Module:
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(
        SAMPLE_RATE,
        n_fft=_WINDOW,
        hop_length=_HOP,
        n_mels=_BANDS,
        power=1.0,
        norm="slaney",
        mel_scale="slaney",
        # Reflection padding would create onsets at both ends.
        center=False,
    )
