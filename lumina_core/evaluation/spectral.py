"""Metrics on waveforms (1, N) at 16 kHz without a pretrained model: spectral distances, lag, silence.

``mel_frechet`` is not FAD: it compares log-mel statistics, and FAD embeddings of a pretrained network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..audio.mel import log_mel
from ..errors import LuminaError
from ..shapes.audio_rates import SAMPLE_RATE

LONGEST_LAG = 1.0  # seconds in each direction that `envelope_lag` searches
_HOP = 80  # samples
_SILENCE_DB = -60.0  # dBFS
_EPS = 1e-6


def mel_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean absolute difference of the log-mel spectrograms in nepers, over the length of the shorter waveform.

    Raises LuminaError for another shape, less than 40 ms, and values that are not finite.
    """
    mels = _mel(first), _mel(second)
    frames = min(len(mel) for mel in mels)
    return float((mels[0][:frames] - mels[1][:frames]).abs().mean())


def log_spectral_distance(first: torch.Tensor, second: torch.Tensor, floor: float = 1e-4) -> float:
    """Log-spectral distance in decibels: root mean square over frequencies, mean over frames.

    Args:
        first, second: waveforms; the longer one is cut to the length of the shorter one.
        floor: magnitudes below this are equal.

    Raises:
        LuminaError: another shape, less than 40 ms, or values that are not finite.
    """
    length = min(_check(first).shape[1], _check(second).shape[1])
    window = torch.hann_window(512)
    spectra = [
        torch.stft(wave[:, :length].float().cpu(), 512, 160, window=window, return_complex=True)[0].abs() / 256
        for wave in (first, second)
    ]
    decibels = [20 * spectrum.clamp(min=floor).log10() for spectrum in spectra]
    return float((decibels[0] - decibels[1]).square().mean(dim=0).sqrt().mean())


def envelope_lag(found: torch.Tensor, true: torch.Tensor, longest: float = LONGEST_LAG) -> float | None:
    """Lag of ``found`` relative to ``true`` in seconds; None if one of them has constant loudness.

    This is the shift of up to ``longest`` seconds with the highest correlation of the two envelopes (root mean square
    of 10 ms, every 5 ms). Raises LuminaError for another shape, less than 40 ms, and values that are not finite.
    """
    length = min(_check(found).shape[1], _check(true).shape[1])
    first, second = (_envelope(wave[:, :length]) for wave in (found, true))
    if first is None or second is None:
        return None
    reach = min(round(longest * SAMPLE_RATE / _HOP), len(first) - 1)
    # Entry k of the correlation is for a shift of the first one by k - reach steps.
    correlation = F.conv1d(F.pad(first, (reach, reach))[None, None], second[None, None])[0, 0]
    return float(int(correlation.argmax()) - reach) * _HOP / SAMPLE_RATE


def silence_share(waveform: torch.Tensor, decibels: float = _SILENCE_DB) -> float:
    """Share, 0 to 1, of the 20 ms chunks whose root mean square is below ``decibels`` dBFS.

    Raises LuminaError for another shape, less than 40 ms, and values that are not finite.
    """
    pieces = _check(waveform).float().unfold(1, 320, 320)[0]
    return float((pieces.square().mean(dim=1).sqrt() < 10 ** (decibels / 20)).float().mean())


def mel_frechet(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """Fréchet distance between two sets of waveforms, on mean and standard deviation over time of each log-mel band.

    A proxy for FAD without a network. Raises LuminaError for a set of fewer than 2 waveforms.
    """
    if min(len(first), len(second)) < 2:
        raise LuminaError(
            f"The sets have {len(first)} and {len(second)} waveforms; a Fréchet distance needs 2 or more of each.",
            field="waveforms",
            kind="value",
        )
    return frechet(*(torch.stack([_statistics(wave) for wave in waves]) for waves in (first, second)))


def frechet(first: torch.Tensor, second: torch.Tensor) -> float:
    """Fréchet distance between normal distributions fitted to two sets of vectors, (n, d) and (m, d), in float64.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), as in FID (Heusel et al. 2017). Raises LuminaError for different widths
    and for a set of fewer than 2 vectors.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise LuminaError(
            f"The sets have shapes {tuple(first.shape)} and {tuple(second.shape)}; a Fréchet distance needs 2 or more "
            "vectors of the same width in each.",
            field="vectors",
            kind="value",
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
    """Log-mel spectrogram (frames, 64)."""
    return log_mel(_check(waveform).cpu())[0, 0]


def _envelope(waveform: torch.Tensor) -> torch.Tensor | None:
    """Root mean square over time (n,), normalized to mean 0 and norm 1; None if it is constant."""
    loudness = waveform.float().cpu().unfold(1, 2 * _HOP, _HOP)[0].square().mean(dim=1).sqrt()
    loudness = loudness - loudness.mean()
    norm = loudness.norm()
    return loudness / norm if norm > _EPS else None


def _check(waveform: torch.Tensor) -> torch.Tensor:
    if waveform.ndim != 2 or waveform.shape[0] != 1 or waveform.shape[1] < 640:
        raise LuminaError(
            f"The waveform has shape {tuple(waveform.shape)}; expected (1, samples) of 640 samples (40 ms) or more.",
            field="waveform",
            kind="value",
        )
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError(
            "The waveform contains NaN or infinite values; use another recording.", field="waveform", kind="numerics"
        )
    return waveform
