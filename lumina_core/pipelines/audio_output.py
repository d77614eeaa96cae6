"""The result of a call of the audio pipeline, and how its waveforms are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..audio.codec_loader import AudioCodec
from ..errors import LuminaError
from ..shapes.audio_rates import SAMPLE_RATE


@dataclass(frozen=True)
class AudioOutput:
    """The result of a call that made B waveforms.

    Args:
        waveform: (B, N), mono, N = seconds * sample_rate; a tensor on the CPU, or a numpy array for ``np``; None for
            ``latent``.
        sample_rate: samples per second, 16000.
        latents: (B, C, T, F), in the dtype of the run.
        nfe: evaluations of the network for all waveforms together.
        passes: forward passes for all waveforms together; guidance makes one to three of them per evaluation.
        silent: whether one of the waveforms is silent.
        seeds: one for each waveform; unused if a generator or latents were given.
    """

    waveform: Any
    sample_rate: int
    latents: torch.Tensor
    nfe: int
    passes: int
    silent: bool
    seeds: tuple[int, ...]


def decode(codec: AudioCodec, latents: torch.Tensor, seconds: float) -> torch.Tensor:
    """Waveforms (B, N) of latents (B, C, T, F), at 16 kHz and exactly ``seconds`` long, on the CPU.

    Raises:
        LuminaError: the latents are too short or of another codec, or the result is not finite.
    """
    waveform = codec.to_waveform(latents.float(), round(seconds * SAMPLE_RATE)).cpu()
    if not bool(torch.isfinite(waveform).all()):
        raise LuminaError(
            "The audio has NaN or infinite values; try another dtype (bf16 or fp32 in place of fp16), or less "
            "guidance.",
            field="dtype",
            kind="numerics",
        )
    return waveform
