"""A vocoder without weights: magnitudes are fitted to a log-mel spectrogram, phases come from Griffin-Lim.

The mini audio model uses it, because it renders that model's few sounds better than a small trained vocoder did. It
takes the same input as a HiFi-GAN and is deterministic.
Source of the phases: torchaudio's ``griffinlim`` (Griffin and Lim 1984, with the momentum of Perraudin et al. 2013).
"""

from __future__ import annotations

import torch
from torch import nn

from ..shapes.audio_rates import MEL_BINS, MEL_HOP, SAMPLE_RATE
from .mel import FLOOR

WINDOW = 1024  # samples of the STFT window
_FIT_STEPS = 30  # multiplicative updates of the magnitudes
_MIN_FRAMES = 8  # mel frames that the STFT needs
_SMALL = 1e-8


class GriffinLimVocoder(nn.Module):
    """Maps log-mel spectrograms (B, frames, 64) of ``mel.log_mel`` to waveforms (B, 160 * frames) float32.

    Args:
        iterations: iterations of Griffin-Lim.
    """

    bank: torch.Tensor  # mel filter bank (64, 513)
    inverse: torch.Tensor  # its pseudo-inverse (513, 64)
    window: torch.Tensor  # (1024,)

    def __init__(self, iterations: int = 32):
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        self.iterations = iterations
        bank = melscale_fbanks(WINDOW // 2 + 1, 0.0, SAMPLE_RATE / 2, MEL_BINS, SAMPLE_RATE, "slaney", "slaney").T
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(bank), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, 160 * frames) of log-mel spectrograms (B, frames, 64)."""
        from torchaudio.functional import griffinlim

        magnitudes = self._magnitudes(log_mel.float().exp().transpose(1, 2))
        # One extra frame completes the last hop; short inputs get more, so that a window fits.
        more = max(1, _MIN_FRAMES - log_mel.shape[1])
        magnitudes = torch.cat([magnitudes, magnitudes[..., -1:].expand(-1, -1, more)], dim=-1)
        waveform = griffinlim(
            magnitudes,
            self.window,
            n_fft=WINDOW,
            hop_length=MEL_HOP,
            win_length=WINDOW,
            power=1.0,
            n_iter=self.iterations,
            momentum=0.99,
            length=MEL_HOP * (magnitudes.shape[-1] - 1),
            rand_init=False,
        )
        return waveform[:, : MEL_HOP * log_mel.shape[1]]

    def _magnitudes(self, mel: torch.Tensor) -> torch.Tensor:
        """Non-negative magnitudes (B, 513, frames) fitted to the mel spectrogram ``mel`` (B, 64, frames).

        Multiplicative updates of non-negative least squares (Lee and Seung 2001), from the pseudo-inverse.
        """
        # Values at the floor of the logarithm are silence.
        mel = torch.where(mel <= FLOOR * 1.01, 0.0, mel)
        found = self.inverse @ mel
        for _ in range(_FIT_STEPS):
            found = found.clamp(min=_SMALL)
            found = found * (self.bank.T @ mel) / (self.bank.T @ (self.bank @ found)).clamp(min=_SMALL)
        return found
