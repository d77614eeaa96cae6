"""Memory estimates of a call of our networks for the host, by the tokens of the patch sizes that the run uses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import comfy.model_management as management
import comfy.patcher_extension

from ...lumina_core.cost.activations import forward_bytes
from ...lumina_core.cost.memory import text_kv_bytes
from ...lumina_core.network.audio_config import ROWS_PER_SECOND, AudioConfig
from ...lumina_core.network.config import BlockConfig, VideoConfig
from ...lumina_core.shapes.latents import LatentSize
from ...lumina_core.shapes.schedules import PatchSize
from ..names import OPTIONS_KEY
from .run_options import RunOptions

PREPARE_SAMPLING = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING
REFERENCE = (1, 16, 16, 48, 84)
"""Latents for which the host's formula by voxels is made right: 64 frames of 672x384."""
AUDIO_REFERENCE = (1, 8, 200, 16)
"""The same for sound: 8 s."""
_MIB = 2**20
_QUERIES = 512
"""Queries whose scores the host's attention holds at once where memory is short and it has no fused kernel."""


def video_bytes(config: VideoConfig, shape: Sequence[int], patches: Iterable[PatchSize], dtype_size: int) -> int:
    """Bytes that a run holds during a call of the network, beyond weights and latents.

    Args:
        shape: of the latents, (B, C, F, H, W); both passes of guidance counted where they run together.
        patches: those that the run may use; the costliest decides.
        dtype_size: bytes of a number in the run's dtype.
    """
    tokens = max(LatentSize(*shape[2:]).tokens(patch) for patch in patches)
    call = forward_bytes(config, tokens, shape[0], dtype_size)
    return call + text_kv_bytes(config, shape[0], dtype_size) + _score_bytes(config.block, tokens, shape[0])


def audio_bytes(config: AudioConfig, shape: Sequence[int], dtype_size: int) -> int:
    """The same for the audio model; ``shape`` is (B, C, rows, bins)."""
    rows = shape[2] // config.patch[0]
    tokens = rows * (config.bins // config.patch[1])
    context = config.text_tokens + math.ceil(shape[2] / ROWS_PER_SECOND * config.clip_fps)
    # The blocks are those of the video model; scales and gates are per row here, in float32 and in the run's dtype.
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
    """Of attention without a fused kernel, which works in parts of a size that it chooses by what is free."""
    if management.xformers_enabled() or management.pytorch_attention_flash_attention():
        return 0
    return batch * block.heads * min(_QUERIES, tokens) * tokens * 4


def patches_of_run(model) -> Iterable[PatchSize]:
    """Patch sizes of the schedule that the run of a host's video model follows; of no run, the finest."""
    options = RunOptions.of_model_options(getattr(model.current_patcher, "model_options", {}))
    return options.schedule(model.diffusion_model.config).values


def tell_run_early(patcher):
    """Let ``patches_of_run`` know the run's schedule while the host decides what to load for it; returns ``patcher``.

    The host names the run's patcher to the model only after that decision.
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
    """Bytes of a number in the dtype that a host's model computes in."""
    return management.dtype_size(model.manual_cast_dtype or model.get_dtype())


def usage_factor(bytes_of_call: int, shape: Sequence[int], dtype_size: int) -> float:
    """The factor that makes the host's own formula, by latent voxels, give ``bytes_of_call`` for this shape.

    For code that reads the factor instead of asking the model.
    """
    return bytes_of_call / (shape[0] * math.prod(shape[2:]) * dtype_size * 0.01 * _MIB)
