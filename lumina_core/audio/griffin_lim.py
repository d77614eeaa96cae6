"""A vocoder without weights: magnitudes fitted to a log-mel spectrogram, phases by Griffin and Lim's method.

For the mini voice, whose few sounds it renders better than a small trained network did. It has no learned parameters,
takes what a HiFi-GAN takes, and is deterministic.
"""

from __future__ import annotations

import torch
from torch import nn

from .mel import BINS, FLOOR, HOP, SAMPLE_RATE

WINDOW = 1024
_FITTING = 30
_FEWEST = 8
_SMALL = 1e-8


class GriffinLimVocoder(nn.Module):
    """Log-mel spectrograms (B, frames, 64), as ``mel.log_mel`` makes them, to waveforms (B, 160 * frames) float32."""

    def __init__(self, iterations: int = 32):
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        self.iterations = iterations
        bank = melscale_fbanks(WINDOW // 2 + 1, 0.0, SAMPLE_RATE / 2, BINS, SAMPLE_RATE, "slaney", "slaney").T
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(bank), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        from torchaudio.functional import griffinlim

        magnitudes = self._magnitudes(log_mel.float().exp().transpose(1, 2))
        # One frame for the end of the last hop, and more where there are too few for a window.
        more = max(1, _FEWEST - log_mel.shape[1])
        magnitudes = torch.cat([magnitudes, magnitudes[..., -1:].expand(-1, -1, more)], dim=-1)
        waveform = griffinlim(
            magnitudes,
            self.window,
            n_fft=WINDOW,
            hop_length=HOP,
            win_length=WINDOW,
            power=1.0,
            n_iter=self.iterations,
            momentum=0.99,
            length=HOP * (magnitudes.shape[-1] - 1),
            rand_init=False,
        )
        return waveform[:, : HOP * log_mel.shape[1]]

    def _magnitudes(self, mel: torch.Tensor) -> torch.Tensor:
        """Magnitudes (B, 513, frames), none negative, whose mel spectrogram is nearest to ``mel`` (B, 64, frames)."""
        # What lies at the floor is silence, not a sound of that size.
        mel = torch.where(mel <= FLOOR * 1.01, 0.0, mel)
        found = self.inverse @ mel
        for _ in range(_FITTING):
            found = found.clamp(min=_SMALL)
            found = found * (self.bank.T @ mel) / (self.bank.T @ (self.bank @ found)).clamp(min=_SMALL)
        return found
