"""Memory estimates for the host: a forward pass at the patch sizes that the run uses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import comfy.model_management as management
import comfy.patcher_extension

from ...lumina_core.cost.activations import forward_bytes
from ...lumina_core.cost.memory import text_kv_bytes
from ...lumina_core.network.audio_config import AudioConfig
from ...lumina_core.network.config import BlockConfig, VideoConfig
from ...lumina_core.shapes.audio_rates import LATENT_RATE
from ...lumina_core.shapes.latents import LatentSize
from ...lumina_core.shapes.schedules import PatchSize
from ..names import OPTIONS_KEY
from .run_options import RunOptions

PREPARE_SAMPLING = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING
# Latents at which the host's own formula, by latent voxels, gives our estimate: 64 frames of 672x384.
REFERENCE = (1, 16, 16, 48, 84)
# The same for audio: 8 s.
AUDIO_REFERENCE = (1, 8, 200, 16)
_MIB = 2**20
# Number of queries whose scores the host's attention keeps at once without a fused kernel when memory is short.
_QUERIES = 512


def video_bytes(config: VideoConfig, shape: Sequence[int], patches: Iterable[PatchSize], dtype_size: int) -> int:
    """Peak memory of a forward pass in bytes, without weights and latents.

    Args:
        config: of the network.
        shape: of the latents, (B, C, F, H, W); B includes both guidance passes where they run as one batch.
        patches: patch sizes that the run may use; the one that needs most memory counts.
        dtype_size: bytes per element in the run's dtype.
    """
    tokens = max(LatentSize(*shape[2:]).tokens(patch) for patch in patches)
    call = forward_bytes(config, tokens, shape[0], dtype_size)
    return call + text_kv_bytes(config, shape[0], dtype_size) + _score_bytes(config.block, tokens, shape[0])


def audio_bytes(config: AudioConfig, shape: Sequence[int], dtype_size: int) -> int:
    """Like `video_bytes`, for the audio model; ``shape`` is (B, C, rows, bins)."""
    rows = shape[2] // config.patch[0]
    tokens = rows * (config.bins // config.patch[1])
    context = config.text_tokens + math.ceil(shape[2] / LATENT_RATE * config.clip_fps)
    # The blocks are those of the video model. Scales and gates exist per row, in float32 and in the run's dtype.
    video = VideoConfig(
        patches=(PatchSize(1, max(config.patch)),),
        channels=config.channels,
        dim=config.dim,
        layers=config.layers,
        heads=config.heads,
        kv_heads=config.kv_heads,
        ffn_hidden=config.ffn_hidden,
        text_dim=config.dim,
        cond_dim=config.cond_dim,
    )
    modulation = shape[0] * rows * 4 * config.dim * (4 + dtype_size)
    call = forward_bytes(video, tokens, shape[0], dtype_size, context)
    return call + modulation + _score_bytes(config.block, tokens, shape[0])


def _score_bytes(block: BlockConfig, tokens: int, batch: int) -> int:
    """Memory of the attention scores in bytes. Without a fused kernel the host computes them in chunks."""
    if management.xformers_enabled() or management.pytorch_attention_flash_attention():
        return 0
    return batch * block.heads * min(_QUERIES, tokens) * tokens * 4


def patches_of_run(model) -> Iterable[PatchSize]:
    """Patch sizes of the schedule of the current run of a video model; outside of a run, the finest one."""
    options = RunOptions.of_model_options(getattr(model.current_patcher, "model_options", {}))
    return options.schedule(model.diffusion_model.config).values


def set_current_patcher_early(patcher):
    """Set the model's current patcher before the host decides what to load; returns ``patcher``.

    The host itself sets it only after that decision, too late for `patches_of_run` to find the schedule.
    """
    patcher.add_wrapper_with_key(PREPARE_SAMPLING, OPTIONS_KEY + "_memory", _while_preparing)
    return patcher


def _while_preparing(executor, patcher, *args, **kwargs):
    before = patcher.model.current_patcher
    patcher.model.current_patcher = patcher
    try:
        return executor(patcher, *args, **kwargs)
    finally:
        patcher.model.current_patcher = before


def run_dtype_size(model) -> int:
    """Bytes per element in the compute dtype of a model of the host."""
    return management.dtype_size(model.manual_cast_dtype or model.get_dtype())


def usage_factor(bytes_of_call: int, shape: Sequence[int], dtype_size: int) -> float:
    """The factor with which the host's own formula, by latent voxels, gives ``bytes_of_call`` for this shape.

    Some code reads this factor instead of calling ``memory_required``.
    """
    return bytes_of_call / (shape[0] * math.prod(shape[2:]) * dtype_size * 0.01 * _MIB)
