"""What a run holds in memory, before anything is loaded: weights, one call of the network, the state, the decoding.

Bytes of tensors. Not counted are a device's own context, scratch memory inside kernels, what an allocator rounds up to,
and the text encoder, which is gone before the sampling begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..network.config import VideoConfig
from ..network.embeddings import FREQUENCIES
from ..network.in_place import FFN_CHUNK_TOKENS, ROPE_CHUNK_TOKENS
from ..sampling.plan import SamplingPlan
from ..shapes.latents import LATENT_CHANNELS, VAE_SPACE, LatentSize
from ..shapes.schedules import PatchSize

GIB = 2**30
TEXT_TOKENS = 256
"""Most tokens of a prompt, system prompt included."""
STATE_BYTES = 44
"""Per number of the latents, counted in the sampler: the most that any solver holds beside the network."""
VAE_NUMBERS, COMPACT_VAE_NUMBERS = 215_583_907, 2_308_620
"""Parameters of the released VAE and of the bundled one."""
DECODE_PEAK, COMPACT_DECODE_PEAK = 24_000, 200
"""Numbers alive at the peak of a decode per pixel of one picture, whatever the length of the clip: counted."""

# Written by `python scripts/build_activation_table.py`, which counts the network's tensors: for 2- and 4-byte
# numbers, the moments of a pass that can be its peak, as bytes held per number of each unit.
MOMENTS: dict[int, tuple[dict[str, int], ...]] = {
    2: (
        {"dim": 2, "modulation": 4, "rope": 4, "text_kv": 4, "vectors": 7},
        {"dim": 6, "rope": 4, "rope_part": 8, "text_kv": 4, "vectors": 2},
        {"dim": 12, "rope": 4, "text_kv": 4, "vectors": 3},
        {"dim": 2, "rope": 4, "text": 2, "text_kv": 4, "vectors": 1},
        {"dim": 6, "kv": 2, "rope": 4, "rope_kv_part": 8, "text_kv": 4, "vectors": 2},
        {"dim": 8, "heads": 4, "kv": 4, "rope": 4, "text_kv": 4, "vectors": 2},
        {"dim": 4, "ffn_part": 4, "rope": 4, "text_kv": 4, "vectors": 2},
    ),
    4: (
        {"dim": 24, "rope": 4, "text_kv": 8, "vectors": 5},
        {"dim": 4, "rope": 4, "text": 4, "text_kv": 8, "vectors": 1},
        {"dim": 16, "heads": 4, "kv": 8, "rope": 4, "text_kv": 8, "vectors": 4},
        {"dim": 8, "ffn_part": 8, "rope": 4, "text_kv": 8, "vectors": 4},
    ),
}


def units(config: VideoConfig, tokens: int, items: int, text_tokens: int) -> dict[str, int]:
    """How many numbers there are of each thing that a pass over ``items`` items of ``tokens`` tokens makes."""
    kv_dim = _kv_dim(config)
    rows, texts = items * tokens, items * text_tokens
    largest = max(patch.frames * patch.space**2 for patch in config.patches)
    return {
        "dim": rows * config.dim,
        "kv": rows * kv_dim,
        "ffn_part": min(rows, FFN_CHUNK_TOKENS) * config.ffn_hidden,
        "dim_part": min(rows, FFN_CHUNK_TOKENS) * config.dim,
        "rope_part": items * min(tokens, ROPE_CHUNK_TOKENS) * config.dim,
        "rope_kv_part": items * min(tokens, ROPE_CHUNK_TOKENS) * kv_dim,
        "patch": rows * largest * config.channels,
        "heads": rows * config.heads,
        "row": rows,
        "rope": tokens * config.block.head_dim,
        "text": texts * config.text_dim,
        "text_kv": texts * kv_dim,
        "vectors": items * 4 * (config.dim + config.cond_dim),
        "modulation": 4 * config.dim * config.cond_dim,
    }


def forward_bytes(config: VideoConfig, tokens: int, items: int, dtype_size: int, text_tokens: int = TEXT_TOKENS) -> int:
    """Most bytes that one network call holds at once beyond the weights, its latents and its text.

    Args:
        tokens: of one item, see ``LatentSize.tokens``.
        items: rows of the batch, both passes of guidance counted where they run together.
        dtype_size: bytes of a number in the run's dtype, 2 or 4.
    """
    sizes = units(config, tokens, items, text_tokens)
    return max(sum(sizes[name] * each for name, each in alive.items()) for alive in MOMENTS[dtype_size])


def text_kv_bytes(config: VideoConfig, texts: int, dtype_size: int) -> int:
    """Bytes of the keys and values of so many texts in every layer, which are kept for a whole run.

    Args:
        texts: prompts and negative prompts of the batch.
        dtype_size: bytes of an element in the run's dtype.
    """
    return texts * TEXT_TOKENS * 2 * config.layers * _kv_dim(config) * dtype_size


def parameters(config: VideoConfig) -> int:
    """How many parameters the network has."""
    return _outside(config) + config.layers * _block(config)


def _block(config: VideoConfig) -> int:
    dim, kv_dim = config.dim, _kv_dim(config)
    norms = (2 * dim + 4 * kv_dim) * config.qk_norm + 4 * dim + config.text_dim
    attention = 2 * dim * dim + 2 * (dim + config.text_dim) * kv_dim + config.heads
    return attention + norms + 3 * dim * config.ffn_hidden + 4 * dim * (config.cond_dim + 1)


def _outside(config: VideoConfig) -> int:
    """Parameters that are in no block."""
    dim, cond = config.dim, config.cond_dim
    numbers = sum(patch.frames * patch.space**2 * config.channels for patch in config.patches)
    patches = numbers * (2 * dim + 1) + len(config.patches) * dim * (cond + 2)
    scalars = 2 * cond * (2 * FREQUENCIES + cond + 2)
    return patches + scalars + config.text_dim * (cond + 2) + cond + dim


@dataclass(frozen=True)
class Run:
    """What decides how much memory a run takes.

    Args:
        config: of the network.
        size: of the clip's latents.
        plan: patch sizes and guidance.
        batch: clips made together.
        dtype_size: bytes of a number in the run's dtype, 2 or 4.
        weight_size: bytes of a weight, 1 for fp8.
        offload: weights wait in main memory and are brought block by block.
        split: the passes of guidance, and the clips of a batch, run one after another.
        tile: the decoder's tile in latent pixels, None for the whole picture.
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
    """Bytes of a run on its device, and of the frames in main memory. The phases follow one another.

    Args:
        weights: of the network, or what is there at a time of offloaded ones.
        forward: one call of the network at each patch size that is used.
        state: latents and what the solver, the guidance and the text keep.
        vae, decode: weights of the VAE, and its peak beside them.
        frames: the decoded clip, which the device never holds.
    """

    weights: int
    forward: dict[PatchSize, int]
    state: int
    vae: int
    decode: int
    frames: int

    @property
    def sampling(self) -> int:
        return self.weights + self.state + max(self.forward.values())

    @property
    def decoding(self) -> int:
        return self.vae + self.decode

    @property
    def total(self) -> int:
        """The most at any time."""
        return max(self.sampling, self.decoding)

    def fits(self, room: int) -> bool:
        """Whether ``room`` bytes are enough."""
        return self.total <= room


def memory_plan(run: Run) -> MemoryPlan:
    """The bytes of a run; its size and patch sizes are taken as checked."""
    config, size = run.config, run.size
    rows = {patch: 1 if run.split else run.batch * passes for patch, passes in _passes(run.plan)}
    latents = run.batch * config.channels * size.frames * size.height * size.width
    # Both texts are kept, though they may run one after another.
    features = 2 * run.batch * TEXT_TOKENS * config.text_dim * run.dtype_size
    text = features + text_kv_bytes(config, 2 * run.batch, run.dtype_size)
    released = config.channels == LATENT_CHANNELS
    pixels = VAE_SPACE**2 * min(size.height, run.tile or size.height) * min(size.width, run.tile or size.width)
    # While a block computes, the next one arrives.
    at_once = _outside(config) + 2 * _block(config) if run.offload else parameters(config)
    return MemoryPlan(
        weights=run.weight_size * at_once,
        forward={p: forward_bytes(config, size.tokens(p), items, run.dtype_size) for p, items in rows.items()},
        state=STATE_BYTES * latents + text,
        vae=run.dtype_size * (VAE_NUMBERS if released else COMPACT_VAE_NUMBERS),
        decode=run.dtype_size * pixels * (DECODE_PEAK if released else COMPACT_DECODE_PEAK),
        frames=run.batch * 3 * 4 * size.pixel_frames * size.height * size.width * VAE_SPACE**2,
    )


@lru_cache(maxsize=64)
def _passes(plan: SamplingPlan) -> tuple[tuple[PatchSize, int], ...]:
    """The patch sizes of a plan, each with the most network passes that an evaluation there takes."""
    most: dict[PatchSize, int] = {}
    for evaluation in plan.evaluations():
        most[evaluation.patch] = max(evaluation.passes, most.get(evaluation.patch, 0))
    return tuple(most.items())


def _kv_dim(config: VideoConfig) -> int:
    return config.kv_heads * config.block.head_dim
