"""Compares the peaks of `lumina_core/cost/activations.py` with the tensors of counted forward passes.

    python scripts/check_activation_peaks.py    # prints the counted peaks; exit code 1 where the functions differ

A forward pass runs on the meta device. Whenever a tensor is made, the tensors that are alive are noted as bytes per
element of each field of `ElementCounts`. Of these moments, those that are the peak of some configuration are compared.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.activations import count  # noqa: E402 - found through the line above
from benchmarks.common.tensor_memory import TensorMemory  # noqa: E402
from lumina_core.cost.activations import PEAKS, ElementCounts  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.network.in_place import FFN_CHUNK_TOKENS  # noqa: E402
from lumina_core.shapes.latents import LatentSize  # noqa: E402
from lumina_core.shapes.schedules import PatchSize  # noqa: E402
from lumina_core.text.gemma import MAX_TOKENS  # noqa: E402

DTYPES = {2: torch.bfloat16, 4: torch.float32}
# Tensors that match no field are small and count as vectors.
VECTORS, REST = "vectors", "rest"
# Every width differs, so that a tensor's size names what it is; clips are cut into whole parts of equal size.
PROBE = VideoConfig(dim=288, layers=2, heads=6, kv_heads=2, ffn_hidden=704, text_dim=208, cond_dim=88)
PROBE_SIZE, PROBE_TEXT = LatentSize(160, 128, 128), 17
# A moment is compared if it is the peak of at least one of these configurations.
SHAPES = tuple(
    {"ffn_hidden": int(ffn * 288), "kv_heads": kv, "text_dim": text}
    for ffn in (0.5, 1, 2, 704 / 288, 2.667, 4, 6)
    for kv in (1, 2, 3, 6)
    for text in (64, 192, 288, 2304)
)


class Moments(TensorMemory):
    """Also keeps what was alive whenever a tensor was made: bytes by what the tensors are (see ``kind``)."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.seen = kind, []

    def _add(self, key, tensor, operator):
        super()._add(key, tensor, operator)
        alive = Counter()
        for made in self._made.values():
            name, bytes_each = self.kind(made)
            alive[name] += bytes_each
        if alive not in self.seen:
            self.seen.append(alive)


def counted_elements(
    config: VideoConfig, tokens: int, text_tokens: int, patch: PatchSize | None = None
) -> dict[str, int]:
    """The fields of ``ElementCounts`` for one sample, and further tensors of a pass that are alive at no peak."""
    patch = patch or max(config.patches, key=lambda p: p.frames * p.space**2)
    return asdict(ElementCounts.of(config, tokens, 1, text_tokens)) | {
        "token_chunk": min(tokens, FFN_CHUNK_TOKENS) * config.dim,
        "patches": tokens * patch.frames * patch.space**2 * config.channels,
        "scalars": tokens,
    }


def kind_of(config: VideoConfig, size: LatentSize, patch: PatchSize, text_tokens: int):
    """A function from an allocation to the name of its elements and their bytes each."""
    names = {count: name for name, count in reversed(counted_elements(
        config, size.tokens(patch), text_tokens, patch).items())}  # fmt: skip

    def kind(made) -> tuple[str, float]:
        elements = torch.Size(made.shape).numel() * (2 if made.dtype.is_complex else 1)
        name = names.get(elements)
        return (name, made.bytes // elements) if name else (REST, made.bytes)

    return kind


def counted(dtype_size: int) -> list[dict[str, int]]:
    """The moments of a pass that can be its peak, as bytes per element of what is alive together."""
    seen = []
    for patch in PROBE.patches:
        live = Moments(kind_of(PROBE, PROBE_SIZE, patch, PROBE_TEXT))
        count(PROBE, PROBE_SIZE, patch, 1, DTYPES[dtype_size], live, PROBE_TEXT)
        vectors = counted_elements(PROBE, 1, 1)[VECTORS]
        for alive in live.seen:
            rest = alive.pop(REST, 0)
            if rest > live.peak / 50:
                raise SystemExit("Something large is alive that has no field of its own; add one to ElementCounts.")
            alive[VECTORS] += -(-rest // vectors)
        seen += [dict(alive) for alive in live.seen]
    return _peaks_among(seen)


def by_function(dtype_size: int) -> dict[str, dict[str, int]]:
    """The functions of ``PEAKS`` by name, as bytes per element."""
    names = [field.name for field in fields(ElementCounts)]
    one_each = {name: ElementCounts(**{other: int(other == name) for other in names}) for name in names}
    return {
        peak.__name__: {name: each for name, counts in one_each.items() if (each := peak(counts, dtype_size))}
        for peak in PEAKS[dtype_size]
    }


def _peaks_among(seen: list[dict[str, int]]) -> list[dict[str, int]]:
    """Those that are the largest for one of ``SHAPES`` at few or many tokens."""
    needed = []
    for change in SHAPES:
        for tokens in (16, 64, 512, 4096, 2**17):
            elements = counted_elements(replace(PROBE, **change), tokens, MAX_TOKENS)
            largest = max(seen, key=lambda alive: sum(elements[name] * each for name, each in alive.items()))
            if largest not in needed:
                needed.append(largest)
    return needed


def main() -> int:
    differ = False
    for dtype_size, dtype in DTYPES.items():
        functions, found = by_function(dtype_size), counted(dtype_size)
        for alive in found:
            name = next((name for name, terms in functions.items() if terms == alive), None)
            print(f"{dtype}: {name or 'no function'}: {alive}")
            differ |= name is None
        differ |= any(terms not in found for terms in functions.values())
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
