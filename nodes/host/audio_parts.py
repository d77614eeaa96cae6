"""Feature encoders and audio codec under the host's memory management, which loads and unloads each as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import comfy.model_management
import comfy.utils
import torch

from ...lumina_core.audio.codec_loader import load_audio_codec, read_codec_channels
from ...lumina_core.audio.features import FeatureEncoder, load_feature_encoder
from ...lumina_core.errors import LuminaError
from .patcher import WholePatcher

# Rough upper bounds of peak memory in bytes, without weights, so that the host frees enough: for one latent frame in
# the codec's widest layers, and for one batch of frames in the widest encoder.
_ROW_BYTES = 2**20
_ENCODER_BYTES = 2**30


class _Holder(torch.nn.Module):
    """Wraps modules of other libraries, whose `device` the host cannot set."""

    def __init__(self, *parts: torch.nn.Module) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)


class HostFeatures:
    """A `FeatureEncoder` that the host moves between devices: the value of LUMINA_SOUND_FEATURES links.

    Args:
        folder: holds clip/ and sync/.

    Raises:
        LuminaError: a part is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.encoder: FeatureEncoder = load_feature_encoder(folder)
        clip, sync = self.encoder.clip.model, self.encoder.sync
        for part in (cast(torch.nn.Module, clip.vision_model), sync):
            # Both encode a few frames per call, so an interrupt takes effect quickly.
            part.register_forward_pre_hook(_raise_if_interrupted)
        self.patcher = _patcher(
            _Holder(clip, sync),
            comfy.model_management.text_encoder_device(),
            comfy.model_management.text_encoder_offload_device(),
        )

    def loaded(self) -> FeatureEncoder:
        """The encoder, loaded on its compute device."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=_ENCODER_BYTES, force_full_load=True)
        return self.encoder


def check_codec_file(path: Path) -> None:
    """Raise LuminaError unless the config or header of ``path`` is a codec's. Pickles are checked when loaded."""
    if path.is_dir() or path.suffix == ".safetensors":
        read_codec_channels(path)


class HostCodec:
    """An `AudioCodec` in float32 that the host moves between devices: the value of LUMINA_SOUND_CODEC links.

    Args:
        path: a folder with vae/ and vocoder/, or AudioLDM's single file.

    Raises:
        LuminaError: a part is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.codec = load_audio_codec(path)
        self.patcher = _patcher(
            _Holder(self.codec), comfy.model_management.vae_device(), comfy.model_management.vae_offload_device()
        )

    def decode(self, latents: torch.Tensor, samples: int) -> torch.Tensor:
        """Decode latents (B, C, T, F) to a waveform (B, samples) in -1..1, on the host's intermediate device.

        Raises LuminaError (kind mismatch) for latents of another shape.
        """
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
        for sample in latents.split(1):
            comfy.model_management.throw_exception_if_processing_interrupted()
            waves.append(self.codec.to_waveform(sample.to(self.patcher.load_device, torch.float32), samples))
            bar.update(1)
        return torch.cat(waves).float().to(comfy.model_management.intermediate_device())


def _raise_if_interrupted(*_) -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def _patcher(module: torch.nn.Module, device: torch.device, offload: torch.device) -> WholePatcher:
    module.to(offload).eval().requires_grad_(False)
    return WholePatcher(module, load_device=device, offload_device=offload)
