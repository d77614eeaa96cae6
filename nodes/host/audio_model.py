"""Lumina-V2A as a native MODEL: latents (B, C, T, F) like those of an image, with video features as conditioning.

T is latent frames and F mel bins.
"""

from __future__ import annotations

from pathlib import Path

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.supported_models_base
import torch

from ...lumina_core.checkpoints.audio import read_audio_checkpoint, read_audio_config
from ...lumina_core.errors import LuminaError
from ...lumina_core.network.audio import AudioNextDiT
from ...lumina_core.network.audio_conditioning import AudioCondition
from ...lumina_core.network.audio_config import AudioConfig
from ...lumina_core.runtime.oom import audio_oom_message
from ...lumina_core.sampling.audio import check_velocity
from ...lumina_core.shapes.audio_rates import LATENT_RATE
from ..names import AUDIO_KEY
from .memory_use import AUDIO_REFERENCE, audio_bytes, run_dtype_size, usage_factor
from .model_patches import guard_first_step
from .network import HostNetwork, flow_time
from .oom import options_of_samples
from .run_options import RunOptions
from .video_model import make_patcher

# Keys of a conditioning entry, in addition to the text and its mask.
VISUAL, SYNC = AUDIO_KEY + "_visual", AUDIO_KEY + "_sync"
NO_VIDEO, NO_TEXT = AUDIO_KEY + "_no_video", AUDIO_KEY + "_no_text"


class HostAudioNextDiT(HostNetwork, AudioNextDiT):
    """The core's audio network with the host's calling convention."""

    def _forward(self, x, t, context, transformer_options, visual, sync, text_mask, no_video, no_text, **_):
        """``t`` is flow time; returns noise - data, the sign of the host's CONST parameterization."""
        t = RunOptions.of(transformer_options).flow_time(t)
        condition = AudioCondition(visual, sync, context, text_mask.bool(), no_video[:, 0] > 0, no_text[:, 0] > 0)

        def call(samples: slice) -> torch.Tensor:
            options = options_of_samples(transformer_options, samples, len(x))
            return self._run(x[samples], t[samples], condition[samples], options)

        message = audio_oom_message(x.shape[2] / LATENT_RATE)
        return self.fallback.of(transformer_options, x.device)(call, len(x), lambda: message)

    def _run(self, x, t, condition, transformer_options):
        return AudioNextDiT.forward(self, x, t, condition, transformer_options=transformer_options).neg_()


class AudioLatent(comfy.latent_formats.LatentFormat):
    """The latent format of audio: no scale, because the codec scales its latents, and no preview."""

    latent_dimensions = 2

    def __init__(self, config: AudioConfig):
        self.latent_channels = config.channels


class AudioModel(comfy.model_base.BaseModel):
    """Sampling conventions and conditioning of the network."""

    def __init__(self, model_config, device=None):
        super().__init__(model_config, comfy.model_base.ModelType.FLOW, device=device, unet_model=HostAudioNextDiT)
        self.memory_usage_factor = usage_factor(
            self.memory_required(AUDIO_REFERENCE), AUDIO_REFERENCE, run_dtype_size(self)
        )

    def memory_required(self, input_shape, cond_shapes=None):
        """Peak memory of a forward pass in bytes, without weights; ``input_shape`` is (B, C, T, F)."""
        return audio_bytes(self.diffusion_model.config, input_shape, run_dtype_size(self))

    def process_timestep(self, timestep, **kwargs):
        """Flow time t = 1 - sigma of the host's timesteps (B,)."""
        return flow_time(self, timestep)

    def extra_conds(self, **kwargs):
        """Inputs of the network from a conditioning entry. Raises LuminaError where the features do not fit it."""
        text, mask, visual, sync = (kwargs.get(key) for key in ("cross_attn", "attention_mask", VISUAL, SYNC))
        if visual is None or sync is None or text is None:
            raise LuminaError(
                "The conditioning for this audio model has no video features; use Lumina-Video Audio Conditioning.",
                field="positive",
                kind="mismatch",
            )
        self.diffusion_model.config.check_features(visual.shape[-1], sync.shape[-1], text.shape[-1])
        mask = torch.ones(text.shape[:2]) if mask is None else mask
        # Masks are integers, because the host casts floats to the dtype of the run.
        masks = {
            "text_mask": mask.to(torch.int),
            "no_video": torch.tensor([[bool(kwargs.get(NO_VIDEO))]], dtype=torch.int),
            "no_text": torch.tensor([[bool(kwargs.get(NO_TEXT))]], dtype=torch.int),
        }
        features = {"c_crossattn": text, "visual": visual, "sync": sync}
        return {name: comfy.conds.CONDRegular(value) for name, value in {**features, **masks}.items()}


class AudioModelConfig(comfy.supported_models_base.BASE):
    """The model family as the host describes one: dtypes, sampling settings and the model class."""

    unet_extra_config = {}
    sampling_settings = {"shift": 1.0, "multiplier": 1.0}
    supported_inference_dtypes = [torch.bfloat16, torch.float32]
    memory_usage_factor = 1.0  # every model computes its own
    scaled_fp8 = None
    quant_config = None
    latent_format = comfy.latent_formats.LatentFormat

    def inpaint_model(self):
        return False

    def get_model(self, state_dict, prefix="", device=None):
        return AudioModel(self, device=device)


def check_file(path: Path) -> None:
    """Raise LuminaError unless the header of ``path`` is that of a complete audio checkpoint."""
    read_audio_config(path)


def load_audio(path: str | Path, dtype: torch.dtype | None = None, disable_dynamic: bool = False):
    """Load an audio checkpoint as the host's model patcher.

    Args:
        path: a .safetensors file of the trainer.
        dtype: of the weights; None leaves the choice to the host.
        disable_dynamic: whether to load without the host's dynamic offload.

    Raises:
        LuminaError: the file is missing, damaged or not an audio model.
    """
    config, weights = read_audio_checkpoint(path)
    model_config = AudioModelConfig({"config": config})
    model_config.latent_format = AudioLatent(config)
    patcher = make_patcher(model_config, weights, dtype, disable_dynamic)
    # Under dynamic offload the host rebuilds a plain patcher from this, for torch.compile and hooks.
    patcher.cached_patcher_init = (load_audio, (path, dtype))
    return guard_first_step(patcher, check_velocity)


def audio_model_config(model) -> AudioConfig:
    """The config of a MODEL from `load_audio`. Raises LuminaError (kind mismatch) for another MODEL."""
    network = model.get_model_object("diffusion_model")
    if not isinstance(network, HostAudioNextDiT):
        raise LuminaError(
            "This MODEL is not an audio model; connect the MODEL of Load Lumina-Video Audio Model.",
            field="model",
            kind="mismatch",
        )
    return network.config
