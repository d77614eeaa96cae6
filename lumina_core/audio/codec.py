"""Waveforms to latents and back, by AudioLDM's parts: log-mel, a VAE over its picture, and a vocoder.

The classes are diffusers' ``AutoencoderKL`` and transformers' ``SpeechT5HifiGan``; they run in float32, since both
lose much in half precision.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ..errors import LuminaError
from .mel import BINS, HOP, SAMPLE_RATE, log_mel

ROW_SAMPLES = 4 * HOP
"""Samples of a latent row: 40 ms."""


class AudioCodec(nn.Module):
    """Made by ``codec.load_audio_codec``.

    Args:
        vae: an ``AutoencoderKL`` of one channel in and out that divides frames and bins by 4.
        vocoder: log-mel (B, frames, 64) to waveforms (B, at least 160 * frames).
    """

    def __init__(self, vae: nn.Module, vocoder: nn.Module):
        super().__init__()
        self.vae, self.vocoder = vae, vocoder
        self.channels: int = vae.config.latent_channels
        self.bins = BINS // 4
        self.scale: float = vae.config.scaling_factor

    @staticmethod
    def rows_for(seconds: float) -> int:
        """Latent rows of a sound, rounded up to an even number, which tokens of two rows divide."""
        return 2 * math.ceil(round(seconds * SAMPLE_RATE / ROW_SAMPLES, 6) / 2)

    @torch.no_grad()
    def posterior(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the latents of waveforms (B, N) at 16 kHz, each (B, C, rows, 16).

        A sound that ends within a row is filled up with silence. Raises LuminaError.
        """
        _check_waveform(waveform)
        rows = self.rows_for(waveform.shape[1] / SAMPLE_RATE)
        filled = nn.functional.pad(waveform.float(), (0, rows * ROW_SAMPLES - waveform.shape[1]))
        found = self.vae.encode(log_mel(filled)).latent_dist
        return found.mean * self.scale, found.std * self.scale

    def encode(self, waveform: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Latents (B, C, rows, 16) of waveforms (B, N): a draw with ``generator``, else the mean."""
        mean, std = self.posterior(waveform)
        if generator is None:
            return mean
        return mean + std * torch.randn(mean.shape, generator=generator, device=generator.device).to(mean)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Log-mel (B, 1, 4 * rows, 64) of latents (B, C, rows, 16). Raises LuminaError."""
        if latents.ndim != 4 or (latents.shape[1], latents.shape[3]) != (self.channels, self.bins):
            raise LuminaError(
                f"The sound latents have shape {tuple(latents.shape)}, and this codec decodes (batch, {self.channels}, "
                f"rows, {self.bins}); use the codec that the sound model was trained with."
            )
        return self.vae.decode(latents.float() / self.scale).sample

    @torch.no_grad()
    def to_waveform(self, latents: torch.Tensor, samples: int) -> torch.Tensor:
        """Waveforms (B, samples) at 16 kHz. Raises LuminaError when the latents end before that."""
        if not 0 < samples <= latents.shape[2] * ROW_SAMPLES:
            raise LuminaError(
                f"{samples} samples ({samples / SAMPLE_RATE:g} s) are asked of sound latents that hold "
                f"{latents.shape[2] * ROW_SAMPLES}; make longer latents, or ask for less."
            )
        return self.vocoder(self.decode(latents)[:, 0])[:, :samples]


def _check_waveform(waveform: torch.Tensor) -> None:
    if waveform.ndim != 2 or waveform.shape[1] < ROW_SAMPLES:
        raise LuminaError(
            f"The waveform has shape {tuple(waveform.shape)}; expected (batch, samples) with {ROW_SAMPLES} samples "
            "(40 ms) or more at 16 kHz."
        )
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError("The waveform holds NaN or infinite values; take another recording.")
