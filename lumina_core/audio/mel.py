"""Log-mel spectrograms identical to AudioLDM's, computed with torchaudio.

Source: haoheliu/AudioLDM, audio/stft.py and audio/tools.py. They use magnitudes instead of power, Slaney's mel scale
and norm, and the natural logarithm of values clamped to at least 1e-5.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from ..shapes.audio_rates import MEL_BINS, MEL_HOP, SAMPLE_RATE

FLOOR = 1e-5  # smallest magnitude before the logarithm
_WINDOW = 1024  # samples


def log_mel(waveform: torch.Tensor) -> torch.Tensor:
    """Log-mel spectrograms (B, 1, N // 160, 64) of waveforms (B, N) at 16 kHz; a partial last hop is dropped."""
    spectrogram = _transform().to(waveform.device)(waveform.float())
    frames = spectrogram[..., : waveform.shape[-1] // MEL_HOP].clamp(min=FLOOR).log()
    return frames.transpose(1, 2)[:, None]


@lru_cache(maxsize=1)
def _transform() -> torch.nn.Module:
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(
        SAMPLE_RATE,
        n_fft=_WINDOW,
        win_length=_WINDOW,
        hop_length=MEL_HOP,
        f_min=0.0,
        f_max=SAMPLE_RATE / 2,
        n_mels=MEL_BINS,
        power=1.0,
        norm="slaney",
        mel_scale="slaney",
        center=True,
        pad_mode="reflect",
    )
