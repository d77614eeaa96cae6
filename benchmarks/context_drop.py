"""What Context Drop saves and what it costs: `python benchmarks/context_drop.py --write docs/performance.md`.

Three parts. Computed: FLOPs of a pass of the released network at t = 0 and of whole released schedules. Measured: one
block of the released width at the tokens of the smaller released size, random weights, with its keys pooled and not;
and the mini bundle's clips of prompts that were never trained, exactly and with each setting from the same noise.
Prints tables and, as the last line, one JSON object. Time is CPU time of one thread, each setting in turn, so other
processes hardly show.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from load import Others  # noqa: E402 - found through the line above
from options import EXACT, read_clip, sampled_clip  # noqa: E402
from performance import write_section  # noqa: E402
from tables.context_drop import SMALL, document, passes, schedules, verdict  # noqa: E402
from tables.mini import Mini, held_out_prompts, load  # noqa: E402
from tables.options import Clip, Option, rows  # noqa: E402

from lumina_core import MultiScaleNextDiT  # noqa: E402
from lumina_core.cost.flops import REFERENCE, TYPICAL_TEXT, forward_cost  # noqa: E402
from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.media.motion_score import dis_flow  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.network.forward_options import NetworkOptions  # noqa: E402
from lumina_core.sampling.presets import preset_clip  # noqa: E402
from lumina_core.sampling.step_cache import RECOMMENDED as TOLERANCE  # noqa: E402

SETTINGS = (0.1, 0.2, 0.3, 1.0)
WITH_CACHE = (0.1,)
"""Settings that are also measured together with the step cache."""
SECTION = "context drop"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=32, help="clips of each setting (default %(default)s)")
    parser.add_argument("--settings", type=float, nargs="*", default=SETTINGS, metavar="T",
                        help="flow times up to which layers drop (default %(default)s)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=1, help="of the block's timing, 0 leaves it out")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section there: docs/performance.md")
    given = parser.parse_args()
    if given.prompts < 2:
        parser.error(f"--prompts is {given.prompts}; write at least 2, for a standard error.")
    return given


def options(mini: Mini, settings: list[float]) -> dict[str, Option]:
    """Name to plan and network, the exact one first."""
    found = {EXACT: mini.default}
    found |= {f"up to {t:g}": mini.default.replace(context_drop=t) for t in settings}
    for t in WITH_CACHE:
        found[f"up to {t:g}, step cache {TOLERANCE:g}"] = mini.default.replace(context_drop=t, cache=TOLERANCE)
    return {name: Option(plan, mini.model) for name, plan in found.items()}


def measure_clips(mini: Mini, count: int, chosen: dict[str, Option]) -> dict[str, list[Clip]]:
    """Clips of every setting, in the order of the prompts."""
    prompts, flow = held_out_prompts(count), dis_flow()
    (features, mask), negative = mini.texts(prompts)
    clips: dict[str, list[Clip]] = {name: [] for name in chosen}
    for i, prompt in enumerate(prompts):
        text = features[i : i + 1], mask[i : i + 1]
        made = {name: sampled_clip(option, mini.noise(i), text, negative) for name, option in chosen.items()}
        for name, sampled in made.items():
            clips[name].append(read_clip(mini, sampled, made[EXACT][0], prompt, flow))
        print(f"  {i + 1} of {count} prompts", file=sys.stderr, flush=True)
    return clips


@torch.no_grad()
def measure_block(rounds: int) -> dict[str, float]:
    """CPU time of one block of the released width with pooled keys over that without, and the same of its FLOPs."""
    config, size = replace(VideoConfig(), layers=1), preset_clip(SMALL).size.latent()
    model = MultiScaleNextDiT(config).requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    text = torch.randn(1, TYPICAL_TEXT.positive, config.text_dim)
    call = torch.randn(1, *size.shape(config.channels)), torch.zeros(1), text, None, torch.ones(1), REFERENCE
    seconds = {0.0: 0.0, 1.0: 0.0}
    for _, until in product(range(rounds), seconds):
        started = time.thread_time()
        model(*call, NetworkOptions(context_drop=until))
        seconds[until] += time.thread_time() - started
    plain, pooled = (forward_cost(config, size, REFERENCE, TYPICAL_TEXT.positive, layers).total for layers in (0, 1))
    return {"tokens": size.tokens(REFERENCE), "time": seconds[1.0] / seconds[0.0], "flops": pooled / plain,
            "seconds": seconds[0.0] / rounds}  # fmt: skip


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    try:
        mini = load(given.bundle)
        chosen = options(mini, given.settings)
        with Others() as others:
            clips = measure_clips(mini, given.prompts, chosen)
            block = measure_block(given.rounds) if given.rounds else None
    except LuminaError as error:
        sys.exit(str(error))
    found = rows(mini, clips, chosen, EXACT)
    for row in found:
        row["until"] = chosen[row["option"]].plan.context_drop
        row["cache"] = chosen[row["option"]].plan.cache
    result = {
        **verdict(found), "prompts": given.prompts, "others_cores": others.cores, "passes": passes(),
        "schedules": schedules([0.0, *given.settings]), "block": block, "rows": found,
    }  # fmt: skip
    text = document(result, f"python benchmarks/context_drop.py {' '.join(sys.argv[1:])}".strip())
    print(text)
    if given.write:
        write_section(given.write, SECTION, text)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
