"""AudioLDM's codec between waveforms and latents: log-mel spectrogram, a VAE on the spectrogram, and a vocoder.

The VAE is diffusers' ``AutoencoderKL``, the vocoder transformers' ``SpeechT5HifiGan``. Both run in float32, because
half precision costs audible quality. Shapes: B batch, N samples, C latent channels, T latent frames.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import LuminaError
from ..shapes.audio_rates import LATENT_HOP, LATENT_REDUCTION, MEL_BINS, SAMPLE_RATE, latent_frames
from .mel import log_mel


class AudioCodec(nn.Module):
    """A VAE and a vocoder. Created by ``codec_loader.load_audio_codec``.

    Args:
        vae: an ``AutoencoderKL`` with one input and one output channel that downsamples mel frames and mel bins by 4.
        vocoder: maps log-mel spectrograms (B, frames, 64) to waveforms (B, at least 160 * frames).

    Attributes:
        channels: latent channels C.
        bins: latent mel bins, 16.
        scale: factor that gives the latents unit standard deviation.
    """

    def __init__(self, vae: nn.Module, vocoder: nn.Module):
        super().__init__()
        # The attributes of a diffusers model are not declared on torch.nn.Module.
        self.vae: Any = vae
        self.vocoder = vocoder
        self.channels: int = self.vae.config.latent_channels
        self.bins = MEL_BINS // LATENT_REDUCTION
        self.scale: float = self.vae.config.scaling_factor

    @torch.no_grad()
    def posterior(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation, each (B, C, T, 16), of the latents of waveforms (B, N) at 16 kHz.

        The last latent frame is padded with silence. Raises LuminaError for another shape, less than 40 ms, and values
        that are not finite.
        """
        _check_waveform(waveform)
        length = latent_frames(waveform.shape[1] / SAMPLE_RATE) * LATENT_HOP
        padded = nn.functional.pad(waveform.float(), (0, length - waveform.shape[1]))
        posterior = self.vae.encode(log_mel(padded)).latent_dist
        return posterior.mean * self.scale, posterior.std * self.scale

    def encode(self, waveform: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, T, 16) of waveforms (B, N): the mean of ``posterior``, which says what is raised."""
        return self.posterior(waveform)[0]

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Log-mel spectrograms (B, 1, 4 * T, 64) of latents (B, C, T, 16). Raises LuminaError for another shape."""
        if latents.ndim != 4 or (latents.shape[1], latents.shape[3]) != (self.channels, self.bins):
            raise LuminaError(
                f"The audio latents have shape {tuple(latents.shape)}, and this codec decodes (batch, {self.channels}, "
                f"frames, {self.bins}); use the codec that the audio model was trained with.",
                field="latents",
                kind="mismatch",
            )
        return self.vae.decode(latents.float() / self.scale).sample

    @torch.no_grad()
    def to_waveform(self, latents: torch.Tensor, samples: int) -> torch.Tensor:
        """Waveforms (B, samples) at 16 kHz of latents (B, C, T, 16). Raises LuminaError if the latents are shorter."""
        if not 0 < samples <= latents.shape[2] * LATENT_HOP:
            raise LuminaError(
                f"samples is {samples} ({samples / SAMPLE_RATE:g} s), and the audio latents cover "
                f"{latents.shape[2] * LATENT_HOP}; make longer latents, or request fewer samples.",
                field="samples",
                kind="value",
            )
        return self.vocoder(self.decode(latents)[:, 0])[:, :samples]


def _check_waveform(waveform: torch.Tensor) -> None:
    if waveform.ndim != 2 or waveform.shape[1] < LATENT_HOP:
        raise LuminaError(
            f"The waveform has shape {tuple(waveform.shape)}; expected (batch, samples) with {LATENT_HOP} samples "
            "(40 ms) or more at 16 kHz.",
            field="waveform",
            kind="value",
        )
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError(
            "The waveform contains NaN or infinite values; use another recording.", field="waveform", kind="numerics"
        )
