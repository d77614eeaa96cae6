"""The Multi-scale Next-DiT as a native MODEL: config, model and patcher in the form of the host's own models."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import comfy.conds
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import comfy.utils
import torch

from ...lumina_core.checkpoints.video import Checkpoint, clean_keys, read_settings
from ...lumina_core.errors import LuminaError
from ...lumina_core.network.config import VideoConfig
from ...lumina_core.network.next_dit import NextDiT
from ...lumina_core.network.video import MultiScaleNextDiT
from ...lumina_core.runtime.devices import bf16_unsupported_reason
from ...lumina_core.runtime.oom import oom_message
from ...lumina_core.runtime.tensor_files import unreadable
from ...lumina_core.sampling.denoiser import NO_MOTION
from ...lumina_core.shapes.latents import LatentSize
from ..names import MOTION_KEY
from .latent_format import LuminaVideoLatent
from .memory_use import REFERENCE, patches_of_run, run_dtype_size, set_current_patcher_early, usage_factor, video_bytes
from .network import HostNetwork, flow_time
from .oom import SUGGESTIONS, options_of_samples
from .ops import run_dtype
from .run_options import RunOptions
from .size_warning import warn_of_size
from .text_cache import RunTextCaches

logger = logging.getLogger(__name__)


class HostNextDiT(HostNetwork, NextDiT):
    """A video or image network of the core with the host's calling convention.

    Subclasses list it before the core's class among their bases.
    """

    def __init__(self, config: VideoConfig, dtype=None, device=None, operations=None):
        super().__init__(config, dtype, device, operations)
        self.text_caches = RunTextCaches()

    def _forward(self, x, t, context, transformer_options, text_mask=None, motion=None, **_):
        """``t`` is flow time; returns noise - data, the sign of the host's CONST parameterization."""
        text = self.text_caches.of(context, text_mask, transformer_options)

        def call(samples: slice) -> torch.Tensor:
            options = options_of_samples(transformer_options, samples, len(x))
            scores = None if motion is None else motion[samples]
            return self._run(x[samples], t[samples], text[samples], options, scores)

        def message() -> str:
            run = RunOptions.of(transformer_options)
            patch = run.schedule(self.config).at(float(run.flow_time(t)[0]))
            return oom_message(LatentSize(*x.shape[2:]), patch, self.config.patches, SUGGESTIONS)

        return self.fallback.of(transformer_options, x.device)(call, len(x), message)

    def _run(self, x, t, text, transformer_options, motion):
        run = RunOptions.of(transformer_options)
        t = run.flow_time(t)
        now = float(t[0])
        schedule = run.schedule(self.config)
        self.config.check_channels(x.shape[1])
        self.config.check_size(LatentSize(*x.shape[2:]), schedule.values)
        scores = [NO_MOTION if s is None or s.at(now) is None else s.at(now) for s in motion or [None] * len(x)]
        scores = torch.tensor(scores, device=x.device, dtype=t.dtype)
        return self.split_velocity(
            x, t, text, scores, schedule.at(now), run.network, transformer_options=transformer_options
        ).neg_()


class HostMultiScaleNextDiT(HostNextDiT, MultiScaleNextDiT):
    """The core's video network with the host's calling convention."""


class MotionCond(comfy.conds.CONDConstant):
    """One motion schedule per sample, as Python objects, because the host would round tensors to the run's dtype."""

    def process_cond(self, batch_size, **kwargs):
        """Repeat the schedules to the batch size."""
        repeats = -(-batch_size // len(self.cond))
        return self._copy_with((self.cond * repeats)[:batch_size])

    def can_concat(self, other):
        """Whether ``other`` is a motion condition, too."""
        return isinstance(other, MotionCond)

    def concat(self, others):
        """The schedules of this condition and of ``others`` as one list."""
        return sum((other.cond for other in others), list(self.cond))


class LuminaVideoModel(comfy.model_base.BaseModel):
    """Sampling conventions and conditioning of the network."""

    network = HostMultiScaleNextDiT
    reference = REFERENCE

    def __init__(self, model_config, device=None):
        super().__init__(model_config, comfy.model_base.ModelType.FLOW, device=device, unet_model=self.network)
        self.round_to = run_dtype(self.get_dtype(), self.manual_cast_dtype)
        # Scheduled LoRA hooks change the weights within a run.
        self.diffusion_model.text_caches = RunTextCaches(changing=self._has_hooks)
        needed = self.memory_required(self.reference)
        self.memory_usage_factor = usage_factor(needed, self.reference, run_dtype_size(self))

    def _has_hooks(self) -> bool:
        return bool(getattr(getattr(self, "current_patcher", None), "current_hooks", None))

    def memory_required(self, input_shape, cond_shapes=None):
        """Peak memory of a forward pass in bytes, without weights; ``input_shape`` is (B, C, F, H, W)."""
        config, patches = self.diffusion_model.config, patches_of_run(self)
        return video_bytes(config, input_shape, patches, run_dtype_size(self))

    def process_timestep(self, timestep, **kwargs):
        """Flow time t = 1 - sigma of the host's timesteps (B,), rounded as in the official sampler."""
        return flow_time(self, timestep).to(self.round_to)

    def extra_conds(self, **kwargs):
        """Inputs of the network from a conditioning entry. Raises LuminaError for text features of another width."""
        out = {}
        text = kwargs.get("cross_attn")
        if text is not None:
            self.diffusion_model.config.check_text_width(text.shape[-1])
            out["c_crossattn"] = comfy.conds.CONDRegular(text)
        mask = kwargs.get("attention_mask")
        if mask is not None:
            out["text_mask"] = comfy.conds.CONDRegular(mask.to(torch.int))
        out["motion"] = MotionCond([kwargs.get(MOTION_KEY)])
        return out


class LuminaVideoConfig(comfy.supported_models_base.BASE):
    """The model family as the host describes one: dtypes, sampling settings and the model class."""

    unet_extra_config = {}
    sampling_settings = {"shift": 1.0, "multiplier": 1.0}
    latent_format: Any = LuminaVideoLatent  # the class; `load_model` replaces it by an instance for the model
    supported_inference_dtypes = [torch.bfloat16, torch.float32]
    memory_usage_factor = 1.0  # every model computes its own
    scaled_fp8 = None
    quant_config = None

    def inpaint_model(self):
        return False

    def get_model(self, state_dict, prefix="", device=None):
        return LuminaVideoModel(self, device=device)


def load_model(path: str | Path, dtype: torch.dtype | None = None, disable_dynamic: bool = False):
    """Load a Lumina-Video checkpoint as the host's model patcher.

    Args:
        path: the weights file; a model_args.pth next to it is read as well.
        dtype: of the weights; None leaves the choice to the host.
        disable_dynamic: whether to load without the host's dynamic offload.

    Raises:
        LuminaError: the file is missing, damaged or not a Lumina-Video checkpoint.
    """
    path = Path(path)
    weights, metadata = read_weights(path)
    checkpoint = Checkpoint(path, clean_keys(weights), read_settings(path, metadata))
    config = checkpoint.config
    model_config = LuminaVideoConfig({"config": config})
    model_config.latent_format = LuminaVideoLatent(config)
    patcher = make_patcher(model_config, checkpoint.weights(), dtype, disable_dynamic)
    # Under dynamic offload the host rebuilds a plain patcher from this, for torch.compile and hooks.
    patcher.cached_patcher_init = (load_model, (path, dtype))
    return warn_of_size(set_current_patcher_early(patcher))


def check_lumina_model(model, title: str, loaders: str = "Load Lumina-Video Model or Load Lumina-Next Model") -> None:
    """Raise LuminaError unless ``model`` is a Lumina-Video or Lumina-Next MODEL, for the node with this title.

    Args:
        model: of the host.
        title: of the node that takes it.
        loaders: what the message advises to connect.
    """
    if not isinstance(model.model, LuminaVideoModel):
        raise LuminaError(
            f"The model is of type {type(model.model).__name__}; connect the MODEL of {loaders} to {title}.",
            field="model",
            kind="mismatch",
        )


def make_patcher(
    model_config: comfy.supported_models_base.BASE,
    weights: dict[str, torch.Tensor],
    dtype: torch.dtype | None,
    disable_dynamic: bool,
):
    """The model of a config with its weights, in the host's patcher; ``dtype`` None leaves the choice to the host."""
    device = comfy.model_management.get_torch_device()
    supported = model_config.supported_inference_dtypes
    if dtype is None:
        dtype = comfy.model_management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(weights),
            supported_dtypes=supported,
            weight_dtype=comfy.utils.weight_dtype(weights),
        )
    cast = comfy.model_management.unet_manual_cast(dtype, device, supported)
    reason = bf16_unsupported_reason(device)
    if reason and (cast or dtype) == torch.float32:
        logger.info("Lumina-Video: running the model in fp32, which needs twice the memory, because %s.", reason)
    model_config.set_inference_dtype(dtype, cast)
    model = model_config.get_model(weights)
    kind = comfy.model_patcher.ModelPatcher
    if not disable_dynamic:
        kind = getattr(comfy.model_patcher, "CoreModelPatcher", kind)
    offload = comfy.model_management.unet_offload_device()
    patcher = kind(model, load_device=device, offload_device=offload)
    # Under dynamic offload the newer host memory-maps the weights; the older host always copies them.
    assign = {"assign": True} if getattr(patcher, "is_dynamic", lambda: False)() else {}
    model.load_model_weights(weights, "", **assign)
    if not comfy.model_management.is_device_cpu(offload):
        model.to(offload)
    return patcher


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors by name and the metadata of a file, read with the host's own loader. Raises LuminaError."""
    try:
        weights, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    except Exception as error:  # the host and torch raise nearly anything on a damaged file
        raise unreadable(path.name, error) from None
    return weights, metadata or {}
