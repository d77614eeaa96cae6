"""Predicts the device memory of a run before anything is loaded: weights, forward pass, sampler state, decoding.

Bytes of tensors. A device's own context, workspace inside kernels, allocator rounding and the text encoder, which is
released before sampling, are not included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..network.config import VideoConfig
from ..network.embeddings import FREQUENCIES
from ..sampling.plan import SamplingPlan
from ..shapes.latents import LATENT_CHANNELS, VAE_SPACE, LatentSize
from ..shapes.schedules import PatchSize
from ..text.gemma import MAX_TOKENS
from .activations import forward_bytes, kv_dim

GIB = 2**30
# Bytes per element of the latents that the sampler holds outside the network, at most, whatever the solver; counted.
STATE_BYTES = 44
# Parameters of the released VAE and of the bundled one.
VAE_PARAMS, COMPACT_VAE_PARAMS = 215_583_907, 2_308_620
# Peak live elements per pixel of one frame during VAE decoding, for clips of any length; counted.
DECODE_PEAK, COMPACT_DECODE_PEAK = 24_000, 200
# The same during encoding. `benchmarks/decode.py` counts 11444 in the released network and 246 in the bundled one; the
# rest is a margin for the device's workspace.
ENCODE_PEAK, COMPACT_ENCODE_PEAK = 12_200, 320


def text_kv_bytes(config: VideoConfig, texts: int, dtype_size: int) -> int:
    """Bytes of the text K/V cache: the keys and values of every layer, which are kept for a whole run.

    Args:
        config: of the network.
        texts: prompts and negative prompts of the batch.
        dtype_size: bytes per element of the run's dtype.
    """
    return texts * MAX_TOKENS * 2 * config.layers * kv_dim(config) * dtype_size


def parameters(config: VideoConfig) -> int:
    """Number of parameters of the network."""
    return _outer_parameters(config) + config.layers * _block_parameters(config)


def _block_parameters(config: VideoConfig) -> int:
    dim, kv = config.dim, kv_dim(config)
    norms = (2 * dim + 4 * kv) * config.qk_norm + 4 * dim + config.text_dim
    attention = 2 * dim * dim + 2 * (dim + config.text_dim) * kv + config.heads
    ffn = 3 * dim * config.ffn_hidden
    modulation = 4 * dim * (config.cond_dim + 1)
    return attention + norms + ffn + modulation


def _outer_parameters(config: VideoConfig) -> int:
    """Parameters outside of the blocks."""
    dim, cond = config.dim, config.cond_dim
    elements = sum(patch.frames * patch.space**2 * config.channels for patch in config.patches)
    patch_layers = elements * (2 * dim + 1) + len(config.patches) * dim * (cond + 2)
    # Of t and of the motion score.
    scalar_embedders = 2 * cond * (2 * FREQUENCIES + cond + 2)
    text_embedder = config.text_dim * (cond + 2) + cond
    pad_token = dim
    return patch_layers + scalar_embedders + text_embedder + pad_token


@dataclass(frozen=True)
class RunSpec:
    """What decides how much memory a run takes.

    Args:
        config: of the network.
        size: of the clip's latents.
        plan: patch sizes and guidance.
        batch: clips generated together.
        dtype_size: bytes per element of the run's dtype, 2 or 4.
        weight_size: bytes per parameter of the network, 1 for fp8.
        offload: weights are kept in main memory and copied to the device block by block.
        split: the positive and negative pass, and the clips of a batch, run one after another.
        tile: side of the decoder's tiles in latent pixels; None decodes whole frames.
    """

    config: VideoConfig
    size: LatentSize
    plan: SamplingPlan
    batch: int = 1
    dtype_size: int = 2
    weight_size: int = 2
    offload: bool = False
    split: bool = False
    tile: int | None = None


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a run holds on its device, and of the frames in main memory. Decoding begins after sampling ends.

    Args:
        weights: of the network, or the part of offloaded ones that is on the device at a time.
        forward: peak of one forward pass at each patch size of the plan.
        state: latents, and what the solver, the guidance and the text keep.
        vae: weights of the VAE.
        decode: peak of decoding beyond ``vae``.
        frames: the decoded clip in float32, which is in main memory.
    """

    weights: int
    forward: dict[PatchSize, int]
    state: int
    vae: int
    decode: int
    frames: int

    @property
    def sampling(self) -> int:
        """Peak bytes while sampling."""
        return self.weights + self.state + max(self.forward.values())

    @property
    def decoding(self) -> int:
        """Peak bytes while decoding."""
        return self.vae + self.decode

    @property
    def total(self) -> int:
        """Peak bytes of the run."""
        return max(self.sampling, self.decoding)

    def fits(self, available: int) -> bool:
        """Whether ``available`` bytes are enough."""
        return self.total <= available


def memory_plan(run: RunSpec) -> MemoryPlan:
    """Predict the memory of a run, whose size and patch sizes must fit (``VideoConfig.check_size``)."""
    config, size = run.config, run.size
    samples = {patch: 1 if run.split else run.batch * passes for patch, passes in _passes(run.plan)}
    latents = run.batch * config.channels * size.frames * size.height * size.width
    # Both texts are kept even where their passes run one after another.
    features = 2 * run.batch * MAX_TOKENS * config.text_dim * run.dtype_size
    text = features + text_kv_bytes(config, 2 * run.batch, run.dtype_size)
    released = config.channels == LATENT_CHANNELS
    pixels = VAE_SPACE**2 * min(size.height, run.tile or size.height) * min(size.width, run.tile or size.width)
    # While one offloaded block computes, the next one is copied.
    on_device = _outer_parameters(config) + 2 * _block_parameters(config) if run.offload else parameters(config)
    return MemoryPlan(
        weights=run.weight_size * on_device,
        forward={p: forward_bytes(config, size.tokens(p), n, run.dtype_size) for p, n in samples.items()},
        state=STATE_BYTES * latents + text,
        vae=run.dtype_size * (VAE_PARAMS if released else COMPACT_VAE_PARAMS),
        decode=run.dtype_size * pixels * (DECODE_PEAK if released else COMPACT_DECODE_PEAK),
        frames=run.batch * 3 * 4 * size.pixel_frames * size.height * size.width * VAE_SPACE**2,
    )


@lru_cache(maxsize=64)
def _passes(plan: SamplingPlan) -> tuple[tuple[PatchSize, int], ...]:
    """The patch sizes of a plan, each with the most forward passes that an evaluation at it takes."""
    most: dict[PatchSize, int] = {}
    for evaluation in plan.evaluations():
        most[evaluation.patch] = max(evaluation.passes, most.get(evaluation.patch, 0))
    return tuple(most.items())
