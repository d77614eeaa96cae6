"""Clips beyond the trained size, by each scaling of the rotary positions, read by the mini bundle's judge.

    python benchmarks/extrapolation.py --write docs/results.md

Prints a table and, as the last line, all figures as one JSON object. --write also puts the section into the document
and a picture of one frame of every method and size beside it. Figures are of clips, not of time, so a busy machine does
not change them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from audio_parts.section import write_section  # noqa: E402
from load import Others  # noqa: E402 - found through the lines above
from performance import machine  # noqa: E402
from tables import extrapolation as tables  # noqa: E402
from tables.mini import Mini, Prompt, held_out_prompts, load  # noqa: E402

from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.network.extrapolation import video_factors  # noqa: E402
from lumina_core.network.forward_options import ROPES  # noqa: E402
from lumina_core.sampling.noise import seeded_noise  # noqa: E402
from lumina_core.sampling.plan import SamplingPlan  # noqa: E402
from lumina_core.sampling.video import sample  # noqa: E402
from lumina_core.shapes.latents import LatentSize, VideoSize  # noqa: E402

SIZES = {
    "96x96": VideoSize(96, 96, 32),
    "128x128": VideoSize(128, 128, 32),
    "64 frames": VideoSize(64, 64, 64),
}
PICTURED = {"96x96": SIZES["96x96"], "128x128": SIZES["128x128"], "128x64": VideoSize(128, 64, 32)}
WANTED = ("96x96", "128x128")
"""1.5 and 2 times as long a side."""
METHODS = [name for name in ROPES if name != "auto"]
PROPORTIONAL_ROW, PROPORTIONAL_SIZE = "off, proportional", "128x128"
FIGURE = "figures/extrapolation.png"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=14, help="clips of each method and size (default %(default)s)")
    parser.add_argument("--points", type=int, default=16, help="of the time grid (default %(default)s)")
    parser.add_argument("--shown", type=int, default=0, help="prompt of the picture, from 0 (default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section there: docs/results.md")
    given = parser.parse_args()
    if given.prompts < 2 or given.shown < 0:
        parser.error("--prompts is at least 2, for a standard error, and --shown at least 0.")
    return given


def runs(plan: SamplingPlan) -> dict[str, tuple[SamplingPlan, list[str]]]:
    """Row of the table: its plan and sizes."""
    found = {name: (plan.replace(rope=name), list(SIZES)) for name in METHODS}
    return found | {PROPORTIONAL_ROW: (plan.replace(rope="off", proportional=True), [PROPORTIONAL_SIZE])}


def measure(mini: Mini, trained: LatentSize, given: argparse.Namespace) -> dict:
    prompts, chosen = held_out_prompts(given.prompts), runs(mini.default)
    readings: dict = {row: {size: [] for size in sizes} for row, (_, sizes) in chosen.items()}
    usual = []
    for number, prompt in enumerate(prompts):
        clip = sampled(mini, prompt, number, mini.default, trained)
        usual.append(tables.read(clip, prompt, 1.0))
        for row, (plan, sizes) in chosen.items():
            for size in sizes:
                latent = SIZES[size].latent()
                clip = sampled(mini, prompt, number, plan, latent)
                side = math.sqrt(latent.height * latent.width / (trained.height * trained.width))
                readings[row][size].append(tables.read(clip, prompt, side))
        print(f"  {number + 1} of {len(prompts)} prompts", file=sys.stderr, flush=True)
    return {
        "trained_figures": tables.figures(usual),
        "rows": {
            row: {size: tables.figures(found) for size, found in of_row.items()} for row, of_row in readings.items()
        },
        "verdicts": tables.verdicts(readings, list(WANTED)),
        "overall": tables.overall(readings, list(SIZES)),
        "met": all(found["sign"] > 0 for found in tables.verdicts(readings, list(WANTED)).values()),
    }


def pictured(mini: Mini, number: int) -> dict[str, dict[str, torch.Tensor]]:
    """The middle frame of one prompt's clip by every method at every size of the picture."""
    prompt, found = held_out_prompts(number + 1)[number], {}
    for name in METHODS:
        plan = mini.default.replace(rope=name)
        clips = {size: sampled(mini, prompt, number, plan, clip.latent()) for size, clip in PICTURED.items()}
        found[name] = {size: clip[len(clip) // 2] for size, clip in clips.items()}
    return found


def sampled(mini: Mini, prompt: Prompt, seed: int, plan: SamplingPlan, size: LatentSize) -> torch.Tensor:
    """A clip (f, H, W, 3)."""
    text, negative = mini.texts([prompt])
    shape = (1, *size.shape(mini.model.config.channels))
    noise = seeded_noise(shape, seed, torch.device("cpu"), torch.float32)
    return mini.vae.decode(sample(mini.model, noise, plan, text, negative))


def trained_size(mini: Mini) -> LatentSize:
    trained = mini.model.config.train_size
    if trained is None:
        raise LuminaError("This bundle's checkpoint does not say what size it was trained at; there is no beyond.")
    too_small = [name for name, size in SIZES.items() if max(video_factors(size.latent(), trained)) <= 1]
    if too_small:
        raise LuminaError(f"{too_small[0]} is not beyond {trained}, which this bundle was trained at.")
    return trained


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    try:
        mini = load(given.bundle, points=given.points)
        trained = trained_size(mini)
        with Others() as others:
            found = measure(mini, trained, given)
    except LuminaError as error:
        sys.exit(str(error))
    size = mini.bundle.size
    result = {
        "command": f"python benchmarks/extrapolation.py {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "machine": machine(),
        "others_cores": others.cores,
        "trained": f"{size.width}x{size.height}, {size.frames} frames",
        "prompts": given.prompts,
        "points": given.points,
        "preset": mini.bundle.preset,
        "sizes": list(SIZES),
        **found,
    }
    text = tables.document(result, FIGURE)
    print(text)
    if given.write:
        tables.picture(pictured(mini, given.shown), given.write.parent / FIGURE)
        write_section(given.write, text, tables.SECTION)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
