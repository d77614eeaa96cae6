"""Operations on waveforms (B, N) at 16 kHz: normalization for the codec, silence detection, resampling, loudness."""

from __future__ import annotations

import math

import torch

from ..errors import LuminaError
from ..shapes.audio_rates import SAMPLE_RATE

# Peak amplitude of the data that AudioLDM's codec was trained on (haoheliu/AudioLDM, audio/tools.py).
PEAK = 0.5
MIN_LUFS, MAX_LUFS = -70.0, -5.0  # range of a target loudness
_SILENCE = 1e-4  # amplitude below which a waveform is silent
_MAX_PEAK = 0.99  # peak amplitude that loudness normalization does not exceed
_MIN_SECONDS = 0.4  # shortest waveform that BS.1770 measures

# Notice to the user about a silent result.
SILENT = "The audio is silent; raise video_guidance, try another seed or prompt, or check that the model is trained."


def prepare(waveform: torch.Tensor, peak: float | None = PEAK) -> torch.Tensor:
    """Remove the DC offset and, unless ``peak`` is None, scale to that peak amplitude. Silence is not amplified."""
    waveform = waveform - waveform.mean(dim=-1, keepdim=True)
    if peak is None:
        return waveform
    largest = waveform.abs().amax(dim=-1, keepdim=True)
    return torch.where(largest > _SILENCE, waveform * (peak / largest.clamp(min=_SILENCE)), waveform)


def is_silent(waveform: torch.Tensor) -> bool:
    """Whether no sample of any waveform exceeds -80 dBFS."""
    return bool(waveform.abs().max() < _SILENCE)


def resample(waveform: torch.Tensor, rate: int) -> torch.Tensor:
    """The waveform (B, N) at ``rate`` hertz, resampled to 16 kHz."""
    if rate == SAMPLE_RATE:
        return waveform
    from torchaudio.functional import resample as to_rate

    return to_rate(waveform, rate, SAMPLE_RATE)


def normalize_loudness(waveform: torch.Tensor, lufs: float) -> torch.Tensor:
    """Scale each waveform to a loudness in LUFS (ITU-R BS.1770), or less if its peaks would clip. Silence is kept.

    Raises LuminaError if ``lufs`` is outside -70..-5.
    """
    check_loudness(lufs)
    if is_silent(waveform):
        return waveform
    from torchaudio.functional import loudness

    # The measurement needs 0.4 s, so a shorter waveform is repeated.
    shortest = math.ceil(_MIN_SECONDS * SAMPLE_RATE)
    repeats = math.ceil(shortest / waveform.shape[-1])
    measured = torch.stack([loudness(wave.repeat(repeats)[None], SAMPLE_RATE) for wave in waveform])
    # A waveform that is entirely below the gate of the measurement counts as the minimum.
    measured = torch.nan_to_num(measured, neginf=MIN_LUFS, nan=MIN_LUFS).clamp(min=MIN_LUFS)
    gain = 10 ** ((lufs - measured) / 20)
    max_gain = _MAX_PEAK / waveform.abs().amax(dim=-1).clamp(min=_SILENCE)
    return waveform * torch.minimum(gain, max_gain)[:, None]


def check_loudness(lufs: float | None) -> None:
    """Raise LuminaError unless ``lufs`` is within -70..-5, or None for no normalization."""
    if lufs is not None and not (math.isfinite(lufs) and MIN_LUFS <= lufs <= MAX_LUFS):
        raise LuminaError(
            f"The loudness is {lufs} LUFS; write a value from {MIN_LUFS:g} to {MAX_LUFS:g}, such as -16, or leave it "
            "out.",
            field="loudness",
            kind="value",
        )
