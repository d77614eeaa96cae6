"""Predicts the activation memory of one forward pass: the tensors that are alive at each moment that can be its peak.

One function per peak adds up the bytes of the tensors that are alive in the block at that moment, on a GPU and without
gradients. Blocks keep nothing, so the peak of the network is that of one block.
`python scripts/check_activation_peaks.py` compares the functions with the tensors of a counted pass.

Letters: B samples, L tokens, D width, K width of keys and values (``kv_heads * head_dim``), H query heads, S text
tokens, T text width, A conditioning width, F hidden width of the feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..network.config import VideoConfig
from ..network.in_place import FFN_CHUNK_TOKENS, ROPE_CHUNK_TOKENS
from ..text.gemma import MAX_TOKENS

# Bytes of a float32 element, in which rotations, scales and attention's normalization are computed in every run.
FLOAT32 = 4


@dataclass(frozen=True)
class ElementCounts:
    """Elements of the tensors that a forward pass makes.

    Args:
        tokens: B * L * D, of the tokens and of everything like them: normalized tokens, queries, attention outputs.
        keys: B * L * K, of the keys of self-attention; its values have as many.
        log_sum_exp: B * L * H, float32, which a fused attention kernel returns beside its output.
        rope: L * D / H, float32, real and imaginary parts of the rotary table.
        query_chunk, key_chunk: of the chunk of queries or keys that is rotated in float32 at a time.
        ffn_chunk: of the hidden layer of the chunk of tokens that the feed-forward layer takes at a time.
        text: B * S * T, of the text features.
        text_keys: B * S * K, of one layer's keys of the text; its values have as many.
        modulation: 4 * D * A, of the weights of a block's modulation layer.
        vectors: B * 4 * (D + A), of everything that has one vector per sample: conditioning, scales and gates.
    """

    tokens: int
    keys: int
    log_sum_exp: int
    rope: int
    query_chunk: int
    key_chunk: int
    ffn_chunk: int
    text: int
    text_keys: int
    modulation: int
    vectors: int

    @classmethod
    def of(cls, config: VideoConfig, tokens: int, samples: int, text_tokens: int) -> ElementCounts:
        """Of a pass over ``samples`` samples of ``tokens`` tokens, each with ``text_tokens`` text tokens."""
        all_tokens, rope_chunk = samples * tokens, samples * min(tokens, ROPE_CHUNK_TOKENS)
        return cls(
            tokens=all_tokens * config.dim,
            keys=all_tokens * kv_dim(config),
            log_sum_exp=all_tokens * config.heads,
            rope=tokens * config.block.head_dim,
            query_chunk=rope_chunk * config.dim,
            key_chunk=rope_chunk * kv_dim(config),
            ffn_chunk=min(all_tokens, FFN_CHUNK_TOKENS) * config.ffn_hidden,
            text=samples * text_tokens * config.text_dim,
            text_keys=samples * text_tokens * kv_dim(config),
            modulation=4 * config.dim * config.cond_dim,
            vectors=samples * 4 * (config.dim + config.cond_dim),
        )


def text_projection_peak(n: ElementCounts, size: int) -> int:
    """While the text is projected to keys and values; ``size`` is bytes per element of the run's dtype."""
    tokens = size * n.tokens  # the input of the block
    text = size * n.text  # normalized features
    vectors = 1 * n.vectors  # float32 conditioning, a fraction of this count
    return tokens + text + vectors + _kept(n, size)


def modulation_peak(n: ElementCounts, size: int) -> int:
    """While scales and gates are computed in float32 by a modulation layer whose weights are half precision."""
    tokens = size * n.tokens  # the input of the block
    weights = FLOAT32 * n.modulation  # widened weights
    vectors = 7 * n.vectors  # conditioning, its SiLU, scales and gates in float32 and in the run's dtype
    return tokens + weights + vectors + _kept(n, size)


def query_rotation_peak(n: ElementCounts, size: int) -> int:
    """While half-precision queries are rotated a chunk at a time."""
    tokens = 3 * size * n.tokens  # the input of the block, modulated tokens, queries
    chunk = 2 * FLOAT32 * n.query_chunk  # the chunk in float32 and its rotation
    return tokens + chunk + size * n.vectors + _kept(n, size)


def key_rotation_peak(n: ElementCounts, size: int) -> int:
    """While half-precision keys are rotated a chunk at a time."""
    tokens = 3 * size * n.tokens  # the input of the block, modulated tokens, queries
    keys = size * n.keys  # no values yet
    chunk = 2 * FLOAT32 * n.key_chunk  # the chunk in float32 and its rotation
    return tokens + keys + chunk + size * n.vectors + _kept(n, size)


def attention_peak(n: ElementCounts, size: int) -> int:
    """While self-attention runs in a fused kernel, which holds no scores."""
    tokens = 4 * size * n.tokens  # the input of the block, modulated tokens, queries, the output
    keys_values = 2 * size * n.keys
    log_sum_exp = FLOAT32 * n.log_sum_exp
    return tokens + keys_values + log_sum_exp + size * n.vectors + _kept(n, size)


def attention_output_peak(n: ElementCounts, size: int) -> int:
    """While the sum of self- and cross-attention goes through the output projection."""
    # The input of the block, modulated tokens, queries, the sum, the cross-attention, the projection.
    tokens = 6 * size * n.tokens
    vectors = (size + 1) * n.vectors  # scales and gates, and the gate of the cross-attention
    return tokens + vectors + _kept(n, size)


def ffn_peak(n: ElementCounts, size: int) -> int:
    """While the feed-forward layer multiplies its two hidden halves, a chunk of tokens at a time."""
    tokens = 2 * size * n.tokens  # the input of the feed-forward branch and its modulated tokens
    hidden = 2 * size * n.ffn_chunk  # silu(w1 x) and w3 x
    return tokens + hidden + size * n.vectors + _kept(n, size)


# The moments that can be the peak of a pass, by bytes per element of the run's dtype. In float32 nothing is widened,
# so that neither rotations nor the modulation can be the peak.
PEAKS: dict[int, tuple[Callable[[ElementCounts, int], int], ...]] = {
    2: (
        text_projection_peak,
        modulation_peak,
        query_rotation_peak,
        key_rotation_peak,
        attention_peak,
        attention_output_peak,
        ffn_peak,
    ),
    4: (text_projection_peak, attention_peak, attention_output_peak, ffn_peak),
}


def forward_bytes(
    config: VideoConfig, tokens: int, samples: int, dtype_size: int, text_tokens: int = MAX_TOKENS
) -> int:
    """Peak bytes of one forward pass beyond the weights, its latents and its text.

    Args:
        config: of the network.
        tokens: of one sample, see ``LatentSize.tokens``.
        samples: batch size; a guided evaluation has two samples per clip where its passes run together.
        dtype_size: bytes per element of the run's dtype, 2 or 4.
        text_tokens: of one sample; by default those of the longest text.
    """
    counts = ElementCounts.of(config, tokens, samples, text_tokens)
    return max(peak(counts, dtype_size) for peak in PEAKS[dtype_size])


def kv_dim(config: VideoConfig) -> int:
    """Width of all keys, or of all values, of one token."""
    return config.kv_heads * config.block.head_dim


def _kept(n: ElementCounts, size: int) -> int:
    """What is alive in the whole block: the rotary table, and the keys and values of the text."""
    return FLOAT32 * n.rope + 2 * size * n.text_keys
