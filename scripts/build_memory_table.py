"""Write README's table of what fits which card: `python scripts/build_memory_table.py`; `--check` only compares.

Every cell is computed: memory by `cost/memory.py`, time by the operations that `lumina_core/cost/flops.py` counts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from lumina_core.cost.flops import plan_cost  # noqa: E402
from lumina_core.cost.memory import GIB, RunSpec, memory_plan  # noqa: E402
from lumina_core.cost.memory_advice import CARD_RESERVE, in_gib, smaller  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402 - found through the line above
from lumina_core.sampling.presets import PRESETS, preset_clip  # noqa: E402

README = ROOT / "README.md"
HEADING = "## What fits which card"
CARDS = (8, 12, 16, 24, 80)
CLIPS = ("f16F64R512", "f24F96R960")
COMPUTED = "ᶜ"
TEXT = f"""{COMPUTED} computed, not measured. Peak, in bf16, is the larger of weights + state + one call of the network,
and VAE + its decoding; `benchmarks/activations.py` counts the call. 1 GiB of each card is left to its driver.
*Offload*: weights wait in main memory, and guidance runs in two passes if necessary; ComfyUI does both automatically.
*Tiles*: the decoder works on parts of a frame. Time is floating-point operations, relative to the single-scale
preset of the same clip. For any other run: `lumina-video plan --memory 12`."""


def rows() -> list[list[str]]:
    """The table's rows: clip, preset, peak, one cell for each card, and relative time."""
    config = VideoConfig()
    table = []
    for name in CLIPS:
        clip = preset_clip(name).size
        size = clip.latent()
        single = PRESETS[name]
        plans = {
            "single-scale": single,
            "multi-scale": PRESETS[f"{name}-MultiScale"],
            "2x4 draft": single.replace(patch="2x4"),
        }
        whole = plan_cost(single, size, config).flops
        for kind, plan in plans.items():
            run = RunSpec(config, size, plan)
            time = plan_cost(plan, size, config).flops / whole
            cells = [verdict(run, card * GIB - CARD_RESERVE) for card in CARDS]
            peak = in_gib(memory_plan(run).total)
            table.append(
                [
                    f"{clip.width}x{clip.height}",
                    str(clip.frames),
                    kind,
                    *(f"{c} {COMPUTED}" for c in (peak, *cells, f"{time:.2f}")),
                ]
            )
    return table


def verdict(run: RunSpec, available: int) -> str:
    """``fits``, the measures with which the host makes it fit, or ``no``."""
    if memory_plan(run).fits(available):
        return "fits"
    found = smaller(run, available)
    if found is None or found.gives_up:
        return "no"
    words = [word for word, part in (("offload", "offloaded"), ("tiles", "tiles")) if part in found.changes]
    return "fits, " + ", ".join(words) if words == ["tiles"] else ", ".join(words)


def section() -> str:
    """The section of README, from its heading on."""
    head = ["Size", "Frames", "Preset", "Peak", *(f"{card} GB" for card in CARDS), "Time"]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows())]
    return "\n".join([HEADING, "", *lines, "", TEXT, ""])


def rewritten(readme: str) -> str:
    """README with the section rewritten, up to the next heading. Raises ValueError if that heading is missing."""
    before, found, rest = readme.partition(f"\n{HEADING}\n")
    if not found:
        raise ValueError(f"README has no heading '{HEADING}'.")
    _, following, after = rest.partition("\n## ")
    return before + "\n" + section() + following + after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the table is the script's")
    readme = README.read_text(encoding="utf-8")
    new = rewritten(readme)
    if parser.parse_args().check:
        return int(new != readme)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
