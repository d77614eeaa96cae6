"""Onsets: the times at which something begins to sound, and how well those of two sounds agree.

An onset is a peak of the spectral flux: how fast the logarithm of the mel bands rises, in the mean over the bands.
Accuracy and average precision follow XYPB/CondFoleyGen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from ..audio.mel import FLOOR, SAMPLE_RATE
from ..errors import LuminaError

APART = 0.05
"""Seconds: of two onsets nearer than this, the stronger one counts."""
TOLERANCE = 0.1
"""Seconds between two onsets that are taken for one."""
THRESHOLD = 0.3
"""Nepers that the bands rise in 10 ms, in their mean and beyond the median around it, at an onset. White noise stays
below 0.2, a stroke in silence reaches 2 and more."""
_WINDOW, _HOP, _BANDS = 512, 80, 40
_STEP = _HOP / SAMPLE_RATE
_LAG = 2
"""Frames between those that are compared."""
_QUIETEST = 3e-3
"""What is 50 dB below the clip's loudest band does not count as sound."""
_SILENCE = 1e-4
"""Amplitude below which a clip is silent."""
_AROUND = 40
"""Frames on each side in the median."""
_EARLY = 0.011
"""Seconds by which the middle of the window is ahead of what makes the flux peak."""


@dataclass(frozen=True)
class Onsets:
    """``times`` in seconds, rising, and how strong each is, in nepers."""

    times: tuple[float, ...]
    strengths: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class Agreement:
    """Onsets that were found beside the true ones; several clips add up in ``pooled``.

    Args:
        found, true: numbers of onsets.
        lags: found minus true time of every pair that matches, in seconds; positive is late.
    """

    found: int
    true: int
    lags: tuple[float, ...]

    @property
    def precision(self) -> float | None:
        """None where nothing was found."""
        return len(self.lags) / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """None where there is nothing to find."""
        return len(self.lags) / self.true if self.true else None

    @property
    def f1(self) -> float | None:
        """None where nothing was found and there is nothing to find."""
        return 2 * len(self.lags) / (self.found + self.true) if self.found + self.true else None

    @property
    def mean_absolute_lag(self) -> float | None:
        """Seconds; None where nothing matches."""
        return sum(map(abs, self.lags)) / len(self.lags) if self.lags else None


@torch.no_grad()
def find_onsets(waveform: torch.Tensor, threshold: float = THRESHOLD) -> Onsets:
    """The onsets of one waveform (1, N) at 16 kHz; of what sounds from its very beginning, none.

    Raises LuminaError for another shape, a waveform below 40 ms and values that are not finite.
    """
    if waveform.ndim != 2 or waveform.shape[0] != 1 or waveform.shape[1] < _WINDOW + 2 * _HOP:
        raise LuminaError(
            f"The waveform has shape {tuple(waveform.shape)}; onsets are found in (1, samples) of "
            f"{_WINDOW + 2 * _HOP} samples or more at 16 kHz."
        )
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError("The waveform holds NaN or infinite values; take another recording.")
    if waveform.abs().max() < _SILENCE:
        return Onsets((), ())
    flux = _flux(waveform.float())
    reach = round(APART / _STEP)
    above = flux - _median_around(flux)
    highest = F.max_pool1d(flux[None], 2 * reach - 1, stride=1, padding=reach - 1)[0]
    peaks = ((flux == highest) & (above > threshold)).nonzero().flatten().tolist()
    times: list[float] = []
    strengths: list[float] = []
    for peak in peaks:
        time = (peak + _LAG / 2 + _bend(flux, peak)) * _STEP + _WINDOW / 2 / SAMPLE_RATE + _EARLY
        # Equal neighbors are both the highest; the first stands for them.
        if not times or time - times[-1] >= APART / 2:
            times.append(time)
            strengths.append(float(above[peak]))
    return Onsets(tuple(times), tuple(strengths))


def match(found: Sequence[float], true: Sequence[float], tolerance: float = TOLERANCE) -> Agreement:
    """Pair times in seconds one to one, the nearest pair first, up to ``tolerance`` apart."""
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
    """All clips counted as one, so that a clip counts as much as it has onsets."""
    parts = list(parts)
    return Agreement(
        sum(part.found for part in parts),
        sum(part.true for part in parts),
        tuple(lag for part in parts for lag in part.lags),
    )


def accuracy_and_precision(
    found: Onsets, true: Sequence[float], tolerance: float = TOLERANCE
) -> tuple[float | None, float | None]:
    """Onset accuracy and average precision of one clip; None and None where there is nothing to find.

    Each true onset in turn takes the strongest one within ``tolerance`` that is left. Accuracy is the share that gets
    one; average precision ranks what was found by strength. True onsets that get none add nothing to it; CondFoleyGen
    ranks them last, by which silence reaches 1.
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
    """Precision at every right entry, as a mean over all that there are."""
    hits, area = 0, 0.0
    for rank, (_, right) in enumerate(sorted(ranked, key=lambda entry: -entry[0]), start=1):
        hits += right
        area += right * hits / rank
    return area / total


def _flux(waveform: torch.Tensor) -> torch.Tensor:
    """(n,): entry k is the rise from frame k to frame k + _LAG, frames being 5 ms apart."""
    bands = _transform().to(waveform.device)(waveform)[0]
    logs = (bands + max(_QUIETEST * float(bands.max()), FLOOR)).log()
    return (logs[:, _LAG:] - logs[:, :-_LAG]).clamp(min=0).mean(dim=0)


def _median_around(values: torch.Tensor) -> torch.Tensor:
    around = min(_AROUND, len(values) - 1)
    return F.pad(values[None], (around, around), mode="reflect")[0].unfold(0, 2 * around + 1, 1).median(dim=-1).values


def _bend(values: torch.Tensor, place: int) -> float:
    """Where a parabola through a peak and its neighbors is highest, -0.5 to 0.5 frames from the peak."""
    if not 0 < place < len(values) - 1:
        return 0.0
    left, middle, right = (float(value) for value in values[place - 1 : place + 2])
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
        # A mirror at the ends would make onsets there.
        center=False,
    )
