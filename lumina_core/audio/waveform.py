"""Waveforms (B, N) at 16 kHz: preparing them for the codec, silence, and loudness."""

from __future__ import annotations

import math

import torch

from ..errors import LuminaError
from .mel import SAMPLE_RATE

PEAK = 0.5
"""Of what AudioLDM's codec was trained on (its file reader normalises to it)."""
QUIETEST, LOUDEST = -70.0, -5.0
"""LUFS that may be asked for."""
_SILENCE = 1e-4
_HEADROOM = 0.99
_SHORTEST_LOUDNESS = 0.4

# What a run tells of a silent result.
SILENT = "The audio is silent; raise video_guidance, try another seed or prompt, or check that the model is trained."


def prepare(waveform: torch.Tensor, peak: float | None = PEAK) -> torch.Tensor:
    """Without its constant part and, unless ``peak`` is None, scaled to that peak; silence stays silence."""
    waveform = waveform - waveform.mean(dim=-1, keepdim=True)
    if peak is None:
        return waveform
    largest = waveform.abs().amax(dim=-1, keepdim=True)
    return torch.where(largest > _SILENCE, waveform * (peak / largest.clamp(min=_SILENCE)), waveform)


def is_silent(waveform: torch.Tensor) -> bool:
    """Whether nothing in any of the waveforms is louder than -80 dB of full scale."""
    return bool(waveform.abs().max() < _SILENCE)


def resample(waveform: torch.Tensor, rate: int) -> torch.Tensor:
    """From ``rate`` hertz to 16 kHz."""
    if rate == SAMPLE_RATE:
        return waveform
    from torchaudio.functional import resample as to_rate

    return to_rate(waveform, rate, SAMPLE_RATE)


def loudness(waveform: torch.Tensor, lufs: float) -> torch.Tensor:
    """Brought to a loudness by ITU-R BS.1770, less where peaks would clip; silence stays. Raises LuminaError."""
    check_loudness(lufs)
    if is_silent(waveform):
        return waveform
    from torchaudio.functional import loudness as measured

    # The measure needs 0.4 s; a shorter sound is measured as if it went on.
    shortest = math.ceil(_SHORTEST_LOUDNESS * SAMPLE_RATE)
    times = math.ceil(shortest / waveform.shape[-1])
    found = torch.stack([measured(wave.repeat(times)[None], SAMPLE_RATE) for wave in waveform])
    # What is too quiet to be measured (its gate leaves nothing) is taken for the quietest.
    found = torch.nan_to_num(found, neginf=QUIETEST, nan=QUIETEST).clamp(min=QUIETEST)
    gain = 10 ** ((lufs - found) / 20)
    highest = _HEADROOM / waveform.abs().amax(dim=-1).clamp(min=_SILENCE)
    return waveform * torch.minimum(gain, highest)[:, None]


def check_loudness(lufs: float | None) -> None:
    """Raise LuminaError for a loudness that no sound has; None asks for none."""
    if lufs is not None and not (math.isfinite(lufs) and QUIETEST <= lufs <= LOUDEST):
        raise LuminaError(
            f"The loudness is {lufs} LUFS; write one from {QUIETEST:g} to {LOUDEST:g}, such as -16, or leave it out."
        )
