"""What a run holds in memory, before anything is loaded."""

from __future__ import annotations

from .blocks import MANY_TOKENS
from .config import VideoConfig
from .rope import PART

TEXT_TOKENS = 256
"""Most tokens of a prompt, system prompt included."""

# Written by `python benchmarks/activations.py --write`, which counts the network's tensors: for 2- and 4-byte numbers,
# the moments of a pass that can be its peak, as bytes held per number of each unit.
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
    kv_dim = config.kv_heads * config.block.head_dim
    rows, texts = items * tokens, items * text_tokens
    largest = max(patch.frames * patch.space**2 for patch in config.patches)
    return {
        "dim": rows * config.dim,
        "kv": rows * kv_dim,
        "ffn_part": min(rows, MANY_TOKENS) * config.ffn_hidden,
        "dim_part": min(rows, MANY_TOKENS) * config.dim,
        "rope_part": items * min(tokens, PART) * config.dim,
        "rope_kv_part": items * min(tokens, PART) * kv_dim,
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
