"""How far two sounds are apart as spectra, how far one is late, and how much of one is silence.

All of it is arithmetic on waveforms (1, N) at 16 kHz. `mel_frechet` is no FAD: it compares mel bands, where FAD
compares what a trained network hears.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..audio.mel import SAMPLE_RATE, log_mel
from ..errors import LuminaError

LONGEST_LAG = 1.0
"""Seconds that `envelope_lag` looks to each side."""
_HOP = 80
_SILENCE_DB = -60.0
_EPS = 1e-6


def mel_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean absolute difference of AudioLDM's log-mel, in nepers, over the shorter of two sounds. Raises LuminaError."""
    mels = _mel(first), _mel(second)
    frames = min(len(mel) for mel in mels)
    return float((mels[0][:frames] - mels[1][:frames]).abs().mean())


def log_spectral_distance(first: torch.Tensor, second: torch.Tensor, floor: float = 1e-4) -> float:
    """Log-spectral distance in decibels: root mean square over the frequencies, mean over the frames.

    floor: amplitude below which spectra are equal. Over the shorter of two sounds. Raises LuminaError.
    """
    length = min(_check(first).shape[1], _check(second).shape[1])
    window = torch.hann_window(512)
    spectra = [
        torch.stft(sound[:, :length].float().cpu(), 512, 160, window=window, return_complex=True)[0].abs() / 256
        for sound in (first, second)
    ]
    decibels = [20 * spectrum.clamp(min=floor).log10() for spectrum in spectra]
    return float((decibels[0] - decibels[1]).square().mean(dim=0).sqrt().mean())


def envelope_lag(found: torch.Tensor, true: torch.Tensor, longest: float = LONGEST_LAG) -> float | None:
    """Seconds by which the loudness of one sound comes after that of another; None where one of them is even.

    The shift up to ``longest`` at which the two envelopes (root mean square of 10 ms, each 5 ms) correlate best.
    Raises LuminaError.
    """
    length = min(_check(found).shape[1], _check(true).shape[1])
    first, second = (_envelope(sound[:, :length]) for sound in (found, true))
    if first is None or second is None:
        return None
    reach = min(round(longest * SAMPLE_RATE / _HOP), len(first) - 1)
    # Entry k of the correlation is the first one moved k - reach steps ahead.
    correlation = F.conv1d(F.pad(first, (reach, reach))[None, None], second[None, None])[0, 0]
    return float(int(correlation.argmax()) - reach) * _HOP / SAMPLE_RATE


def silence_share(waveform: torch.Tensor, decibels: float = _SILENCE_DB) -> float:
    """Share of the pieces of 20 ms whose root mean square is below a level of full scale. Raises LuminaError."""
    pieces = _check(waveform).float().unfold(1, 320, 320)[0]
    return float((pieces.square().mean(dim=1).sqrt() < 10 ** (decibels / 20)).float().mean())


def mel_frechet(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """Frechet distance of two sets of sounds by mean and standard deviation over time of each log-mel band.

    A proxy for FAD that needs no network. Raises LuminaError for a set of fewer than 2 sounds.
    """
    if min(len(first), len(second)) < 2:
        raise LuminaError(f"The sets hold {len(first)} and {len(second)} sounds; a Frechet distance needs 2 of each.")
    return frechet(*(torch.stack([_statistics(sound) for sound in sounds]) for sounds in (first, second)))


def frechet(first: torch.Tensor, second: torch.Tensor) -> float:
    """Frechet distance of the normal distributions of two sets of vectors, (n, d) and (m, d). Raises LuminaError.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), in float64.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise LuminaError(
            f"The sets have shapes {tuple(first.shape)} and {tuple(second.shape)}; a Frechet distance compares 2 or "
            "more vectors of one width with 2 or more."
        )
    first, second = first.double(), second.double()
    gap = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    ones, others = (torch.cov(vectors.T).reshape(vectors.shape[1], -1) for vectors in (first, second))
    root = _root(ones)
    # The eigenvalues of C1 C2 are those of the symmetric C1^(1/2) C2 C1^(1/2).
    shared = torch.linalg.eigvalsh(root @ others @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(gap + ones.trace() + others.trace() - 2 * shared))


def _root(matrix: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _statistics(waveform: torch.Tensor) -> torch.Tensor:
    mel = _mel(waveform)
    return torch.cat([mel.mean(dim=0), mel.std(dim=0)])


def _mel(waveform: torch.Tensor) -> torch.Tensor:
    """(frames, 64)."""
    return log_mel(_check(waveform).cpu())[0, 0]


def _envelope(waveform: torch.Tensor) -> torch.Tensor | None:
    """Loudness over time, (n,), mean 0 and norm 1."""
    loudness = waveform.float().cpu().unfold(1, 2 * _HOP, _HOP)[0].square().mean(dim=1).sqrt()
    loudness = loudness - loudness.mean()
    norm = loudness.norm()
    return loudness / norm if norm > _EPS else None


def _check(waveform: torch.Tensor) -> torch.Tensor:
    if waveform.ndim != 2 or waveform.shape[0] != 1 or waveform.shape[1] < 640:
        raise LuminaError(
            f"The waveform has shape {tuple(waveform.shape)}; expected (1, samples) of 640 samples (40 ms) or more."
        )
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError("The waveform holds NaN or infinite values; take another recording.")
    return waveform
