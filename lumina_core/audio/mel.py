"""Log-mel spectrograms exactly as AudioLDM makes them, by torchaudio.

Source: haoheliu/AudioLDM, audio/stft.py and audio/tools.py: magnitudes, not power; Slaney's scale and norm; natural
logarithm of at least 1e-5.
"""

from __future__ import annotations

from functools import lru_cache

import torch

SAMPLE_RATE = 16000
HOP = 160
"""Samples from one frame to the next: 10 ms."""
BINS = 64
FLOOR = 1e-5
_WINDOW = 1024


def log_mel(waveform: torch.Tensor) -> torch.Tensor:
    """Waveforms (B, N) at 16 kHz to (B, 1, N // 160, 64), time first; frames beyond the whole hops are dropped."""
    spectrogram = _transform().to(waveform.device)(waveform.float())
    frames = spectrogram[..., : waveform.shape[-1] // HOP].clamp(min=FLOOR).log()
    return frames.transpose(1, 2)[:, None]


@lru_cache(maxsize=1)
def _transform() -> torch.nn.Module:
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(
        SAMPLE_RATE,
        n_fft=_WINDOW,
        win_length=_WINDOW,
        hop_length=HOP,
        f_min=0.0,
        f_max=SAMPLE_RATE / 2,
        n_mels=BINS,
        power=1.0,
        norm="slaney",
        mel_scale="slaney",
        center=True,
        pad_mode="reflect",
    )
