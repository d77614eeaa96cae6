"""Writes the table in `lumina_core/cost/memory.py` that predicts the activation memory of a forward pass.

    python scripts/build_activation_table.py            # after a change of the network
    python scripts/build_activation_table.py --check    # exit code 1 where the file's table is another

A forward pass runs on the meta device, and whenever a tensor is made, what is alive is kept as bytes per unit of
`memory.units`. The table holds those moments that are the peak of some configuration.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.activations import TEXT_TOKENS, count  # noqa: E402 - found through the line above
from benchmarks.common.tensor_memory import TensorMemory  # noqa: E402
from lumina_core.cost import memory  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.shapes.latents import LatentSize  # noqa: E402
from lumina_core.shapes.schedules import PatchSize  # noqa: E402

DTYPES = {2: torch.bfloat16, 4: torch.float32}
TABLE = re.compile(r"(?<=\nMOMENTS: dict\[int, tuple\[dict\[str, int\], \.\.\.\]\] = ).*?\n}\n", re.DOTALL)
# Tensors that match no unit are small, and count as vectors.
VECTORS, REST = "vectors", "rest"
# Every width differs, so that a tensor's size names what it is; clips are cut into whole parts of equal size.
PROBE = VideoConfig(dim=288, layers=2, heads=6, kv_heads=2, ffn_hidden=704, text_dim=208, cond_dim=88)
PROBE_SIZE, PROBE_TEXT = LatentSize(160, 128, 128), 17
# A moment stays in the table if it is the peak of at least one of these configurations.
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


def kind_of(config: VideoConfig, size: LatentSize, patch: PatchSize, batch: int, text_tokens: int):
    """A function from an allocation to the name of its unit in ``memory.units`` and its bytes per unit."""
    units = memory.units(config, size.tokens(patch), batch, text_tokens)
    units["patch"] = batch * size.tokens(patch) * patch.frames * patch.space**2 * config.channels

    def kind(made) -> tuple[str, float]:
        elements = torch.Size(made.shape).numel() * (2 if made.dtype.is_complex else 1)
        name = next((name for name, unit in units.items() if unit == elements), None)
        return (name, made.bytes // elements) if name else (REST, made.bytes)

    return kind


def moments(dtype_size: int) -> list[dict[str, int]]:
    """What is alive together at the moments of a pass that can be its peak, in bytes per unit."""
    seen = []
    for patch in PROBE.patches:
        kind = kind_of(PROBE, PROBE_SIZE, patch, 1, PROBE_TEXT)
        live = Moments(kind)
        count(PROBE, PROBE_SIZE, patch, 1, DTYPES[dtype_size], live, PROBE_TEXT)
        vectors = memory.units(PROBE, 1, 1, 1)[VECTORS]
        for alive in live.seen:
            rest = alive.pop(REST, 0)
            if rest > live.peak / 50:
                raise SystemExit("Something large is alive that has no unit of its own; add one to memory.units.")
            alive[VECTORS] += -(-rest // vectors)
        seen += [dict(sorted(alive.items())) for alive in live.seen]
    return _needed(seen)


def _needed(seen: list[dict[str, int]]) -> list[dict[str, int]]:
    """Those that are the largest for one of ``SHAPES`` at few or many tokens."""
    needed = []
    for change in SHAPES:
        for tokens in (16, 64, 512, 4096, 2**17):
            units = memory.units(replace(PROBE, **change), tokens, 1, TEXT_TOKENS)
            largest = max(seen, key=lambda alive: sum(units[name] * each for name, each in alive.items()))
            if largest not in needed:
                needed.append(largest)
    return needed


def table_text() -> str:
    """The table of ``memory.MOMENTS`` as it is written in the file."""
    lines = ["{"]
    for dtype_size in DTYPES:
        rows = [", ".join(f'"{name}": {each}' for name, each in row.items()) for row in moments(dtype_size)]
        lines += [f"    {dtype_size}: (", *(f"        {{{row}}}," for row in rows), "    ),"]
    return "\n".join([*lines, "}\n"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where the table differs")
    file = Path(memory.__file__)
    text = file.read_text(encoding="utf-8")
    new, found = TABLE.subn(table_text(), text)
    if found != 1:
        raise SystemExit(f"{file.name} has no table MOMENTS of the known form.")
    if parser.parse_args().check:
        return int(new != text)
    file.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
