"""The feature encoders and the codec of sound under the host's memory management: loaded, offloaded and freed whole."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.utils
import torch

from ...lumina_core.audio.codec_loader import load_audio_codec, read_codec_channels
from ...lumina_core.audio.features import FeatureEncoder, load_feature_encoder
from ...lumina_core.errors import LuminaError
from .patcher import WholePatcher

# Bytes alive at the peak, beside the weights: of one row of latents in the codec's widest layers, and of the frames of
# one call of the widest encoder. Rough, so that the host makes room in time.
_ROW_BYTES = 2**20
_ENCODER_BYTES = 2**30


class _Holder(torch.nn.Module):
    """Holds modules of other libraries, which do not let the host write `device` on them."""

    def __init__(self, *parts: torch.nn.Module) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)


class HostFeatures:
    """A `FeatureEncoder` that the host moves; what nodes hand on as sound features."""

    def __init__(self, folder: str | Path) -> None:
        self.encoder: FeatureEncoder = load_feature_encoder(folder)
        clip, sync = self.encoder.clip.model, self.encoder.sync
        for part in (clip.vision_model, sync):
            # Both see a few frames at a time, so a run ends soon after the user asked for it.
            part.register_forward_pre_hook(_let_the_user_stop)
        self.patcher = _patcher(
            _Holder(clip, sync),
            comfy.model_management.text_encoder_device(),
            comfy.model_management.text_encoder_offload_device(),
        )

    def loaded(self) -> FeatureEncoder:
        """The encoder, on the device that it works on."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=_ENCODER_BYTES, force_full_load=True)
        return self.encoder


def check_codec_file(path: Path) -> None:
    """Raise LuminaError unless config or header are a codec's; a pickle has none, and is read only to be used."""
    if path.is_dir() or path.suffix == ".safetensors":
        read_codec_channels(path)


class HostCodec:
    """An `AudioCodec` that the host moves; what nodes hand on as sound codec. Always float32."""

    def __init__(self, path: str | Path) -> None:
        self.codec = load_audio_codec(path)
        self.patcher = _patcher(
            _Holder(self.codec), comfy.model_management.vae_device(), comfy.model_management.vae_offload_device()
        )

    def decode(self, latents: torch.Tensor, samples: int) -> torch.Tensor:
        """Latents (B, C, rows, bins) to a waveform (B, samples) on the device for results. Raises LuminaError."""
        shape = tuple(latents.shape)
        wanted = (self.codec.channels, self.codec.bins)
        if latents.ndim != 4 or (shape[1], shape[3]) != wanted:
            raise LuminaError(
                f"samples have shape {shape}, expected (batch, {wanted[0]}, time, {wanted[1]}); use latents of an "
                "audio model and the codec that it was trained with.",
                field="samples",
                kind="mismatch",
            )
        memory = _ROW_BYTES * shape[0] * shape[2]
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory, force_full_load=True)
        bar = comfy.utils.ProgressBar(len(latents))
        waves = []
        for item in latents.split(1):
            comfy.model_management.throw_exception_if_processing_interrupted()
            waves.append(self.codec.to_waveform(item.to(self.patcher.load_device, torch.float32), samples))
            bar.update(1)
        return torch.cat(waves).float().to(comfy.model_management.intermediate_device())


def _let_the_user_stop(*_) -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def _patcher(module: torch.nn.Module, device: torch.device, offload: torch.device) -> WholePatcher:
    module.to(offload).eval().requires_grad_(False)
    return WholePatcher(module, load_device=device, offload_device=offload)
