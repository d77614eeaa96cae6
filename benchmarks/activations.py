"""Counts what a forward pass holds beyond weights, and writes the table that `cost/memory.py` foretells it from.

    python benchmarks/activations.py                # what a pass holds at real sizes: counted against the formula
    python benchmarks/activations.py --calibrate    # after a change of the network: make that table anew first

Passes run on the meta device, at any size in no time: every tensor's bytes are counted from the operator that makes it
until nothing holds it. Attention counts as a flash kernel (its result and one number a row, no matrix of scores) and
RMSNorm as one kernel, as on a GPU. Scratch memory inside a kernel and what an allocator rounds up are not counted.
Prints a table for people and, as its last line, the same figures as one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.live_bytes import LiveBytes  # noqa: E402 - found through the line above
from benchmarks.performance import section, write_section  # noqa: E402
from benchmarks.tables.sections import prose, table  # noqa: E402
from lumina_core.cost import memory  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.network.video import MultiScaleNextDiT  # noqa: E402
from lumina_core.shapes.latents import LatentSize, VideoSize  # noqa: E402
from lumina_core.shapes.schedules import PatchSize  # noqa: E402

GIB = 2**30
INTRODUCTION = (
    "Bytes that one call of the released network holds beyond its weights, in bf16 with 256 text tokens: counted "
    "tensor by tensor on the meta device, attention and RMSNorm as one kernel each, and foretold by the formula of "
    "`cost/memory.py` that `plan`, the cost strip and ComfyUI's memory manager are told. Not in either: scratch "
    "memory inside kernels and what an allocator rounds up. On a GPU's allocator: not yet measured."
)
SIZES = (VideoSize(1248, 704, 96), VideoSize(672, 384, 64))
DTYPES = {2: torch.bfloat16, 4: torch.float32}
TEXT_TOKENS = 256
TABLE = re.compile(r"(?<=\nMOMENTS: dict\[int, tuple\[dict\[str, int\], \.\.\.\]\] = ).*?\n}\n", re.DOTALL)
VECTORS, REST = "vectors", "rest"
"""What belongs to no unit is small, and counted as vectors."""
# Every width differs, so that a tensor's size names what it is; clips are cut into whole parts of equal size.
PROBE = VideoConfig(dim=288, layers=2, heads=6, kv_heads=2, ffn_hidden=704, text_dim=208, cond_dim=88)
PROBE_SIZE, PROBE_TEXT = LatentSize(160, 128, 128), 17
"""Configurations among which a moment must be the peak of one to stay in the table."""
SHAPES = tuple(
    {"ffn_hidden": int(ffn * 288), "kv_heads": kv, "text_dim": text}
    for ffn in (0.5, 1, 2, 704 / 288, 2.667, 4, 6)
    for kv in (1, 2, 3, 6)
    for text in (64, 192, 288, 2304)
)


class Kernels(TorchFunctionMode):
    """Attention and RMSNorm allocate what a GPU's kernels do: the result, and a float32 number per row."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, value = args[0], args[2]
            batch, heads, length, _ = query.shape
            rows = query.new_empty((batch, heads, length), dtype=torch.float32)
            # Laid out so that (batch, length, heads * width) is a view of it.
            out = query.new_empty((batch, length, heads, value.shape[-1])).transpose(1, 2)
            del rows
            return out
        if func in (torch.nn.functional.rms_norm, torch.rms_norm):
            rows = args[0].new_empty(args[0].shape[:-1], dtype=torch.float32)
            out = torch.empty_like(args[0])
            del rows
            return out
        return func(*args, **kwargs)


class Moments(LiveBytes):
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


def count(
    config: VideoConfig, size: LatentSize, patch: PatchSize, items: int, dtype: torch.dtype, live: LiveBytes,
    text_tokens: int = TEXT_TOKENS,
) -> LiveBytes:  # fmt: skip
    """Run one pass over ``items`` items inside ``live``; latents, text and weights were there before."""
    with torch.device("meta"):
        model = MultiScaleNextDiT(config, dtype=dtype).requires_grad_(False)
        x = torch.empty((items, *size.shape(config.channels)), dtype=dtype)
        text = torch.empty((items, text_tokens, config.text_dim), dtype=dtype)
        numbers = torch.empty((items,), dtype=dtype)
        with torch.no_grad(), Kernels(), live:
            model(x, numbers, text, None, numbers, patch)
    return live


def kind_of(config: VideoConfig, size: LatentSize, patch: PatchSize, items: int, text_tokens: int):
    """A function from what was made to the name of its unit in ``memory.units`` and its bytes per one of it."""
    units = memory.units(config, size.tokens(patch), items, text_tokens)
    units["patch"] = items * size.tokens(patch) * patch.frames * patch.space**2 * config.channels

    def kind(made) -> tuple[str, float]:
        numbers = torch.Size(made.shape).numel() * (2 if made.dtype.is_complex else 1)
        name = next((name for name, unit in units.items() if unit == numbers), None)
        return (name, made.bytes // numbers) if name else (REST, made.bytes)

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
    """The table of ``memory.MOMENTS`` as it stands in the file."""
    lines = ["{"]
    for dtype_size in DTYPES:
        rows = [", ".join(f'"{name}": {each}' for name, each in row.items()) for row in moments(dtype_size)]
        lines += [f"    {dtype_size}: (", *(f"        {{{row}}}," for row in rows), "    ),"]
    return "\n".join([*lines, "}\n"])


def compare(size: VideoSize, patch: PatchSize, items: int) -> dict[str, object]:
    """One row: a pass of the released network in bf16, counted and by the formula."""
    config = VideoConfig()
    latent = size.latent()
    # Blocks run one after another, and none leaves anything behind: two hold as much as 24.
    counted = count(replace(config, layers=2), latent, patch, items, torch.bfloat16, LiveBytes()).peak
    by_formula = memory.forward_bytes(config, latent.tokens(patch), items, 2)
    return {
        "size": f"{size.width}x{size.height}x{size.frames}", "patch": str(patch), "batch": items,
        "tokens": latent.tokens(patch), "counted": counted, "formula": by_formula, "ratio": by_formula / counted,
    }  # fmt: skip


def calibrate() -> None:
    """Write the table into ``memory``, and use it from here on."""
    file = Path(memory.__file__)
    text, found = TABLE.subn(table_text(), file.read_text(encoding="utf-8"))
    if found != 1:
        raise SystemExit(f"{file.name} has no table MOMENTS of the known form.")
    file.write_text(text, encoding="utf-8")
    importlib.reload(memory)


def document(rows: list[dict]) -> str:
    """The section of the performance document."""
    head = ["clip", "patch", "batch", "tokens", "counted, GiB", "formula, GiB", "formula / counted"]
    lines = [
        [row["size"], row["patch"], str(row["batch"]), str(row["tokens"]), f"{row['counted'] / GIB:.3f}",
         f"{row['formula'] / GIB:.3f}", f"{row['ratio']:.4f}"]
        for row in rows
    ]  # fmt: skip
    return section("plan", prose(INTRODUCTION), table(head, lines), command="python benchmarks/activations.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", action="store_true", help="make the table in lumina_core/cost/memory.py anew")
    parser.add_argument("--write", type=Path, help="put the section into this document")
    given = parser.parse_args()
    if given.calibrate:
        calibrate()
    rows = [compare(size, patch, items) for size in SIZES for patch in VideoConfig().patches for items in (1, 2)]
    text = document(rows)
    print(text)
    if given.write:
        write_section(given.write, "plan", text)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
