"""Clips beyond the trained size with each RoPE scaling: `python -m benchmarks.extrapolation`.

The mini bundle's judge reads each clip. A larger clip is read twice, as it is and shrunk to the trained area, and the
more confident reading counts; it looks at the largest object alone. "One object" is the share of frames that show
exactly one. Figures are of clips, not of time, so a busy machine does not change them.
"""

from __future__ import annotations

import argparse
import math

import torch
import torch.nn.functional as F

from benchmarks.common.comparison import mean, standard_error
from benchmarks.common.harness import at_least, make_parser, progress, run
from benchmarks.common.mini_clips import default_plan, load, make_clips
from lumina_core.errors import LuminaError
from lumina_core.mini.judge import judge
from lumina_core.mini.prompts import Prompt, held_out_prompts
from lumina_core.mini.quality import COUNTED
from lumina_core.network.forward_options import ROPES
from lumina_core.pipelines.video import LuminaVideoPipeline
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.shapes.latents import LatentSize, VideoSize

# By the suffix of their fields.
SIZES = {"96x96": VideoSize(96, 96, 32), "128x128": VideoSize(128, 128, 32), "64f": VideoSize(64, 64, 64)}
METHODS = [name for name in ROPES if name != "auto"]
# Pixels; the smallest shape of the trained clips has about 100.
SPECK = 30
# One pixel in so many surely belongs to an object.
OUTSTANDING = 200


def measure(args: argparse.Namespace) -> dict:
    pipe = load(args.bundle)
    default, trained = default_plan(pipe, args.points), pipe.config.train_size
    if trained is None:
        raise LuminaError(
            "This bundle's checkpoint does not store its training size; use one that does.",
            field="bundle",
            kind="value",
        )
    prompts = held_out_prompts(args.prompts)
    cases: dict[str, tuple[SamplingPlan, list[str]]] = {"trained size": (default, [])}
    cases |= {name: (default.replace(rope=name), list(SIZES)) for name in METHODS}
    cases["off, proportional attention"] = (default.replace(rope="off", proportional=True), ["128x128"])
    rows = []
    for name, (plan, sizes) in cases.items():
        row: dict = {"rope": name}
        for size in sizes or ["trained"]:
            clip = SIZES[size] if sizes else pipe.defaults.size
            row |= {f"{key}_{size}": value for key, value in figures_of(pipe, prompts, plan, clip, trained).items()}
        rows.append(row)
        progress(name)
    trained_row = rows.pop(0)
    return {"prompts": args.prompts, "points": args.points, "trained": trained_row, "rows": rows}


def figures_of(
    pipe: LuminaVideoPipeline, prompts: list[Prompt], plan: SamplingPlan, size: VideoSize, trained: LatentSize
) -> dict:
    """Mean accuracy, its standard error, and the share of frames with one object."""
    factor = math.sqrt(size.latent().height * size.latent().width / (trained.height * trained.width))
    clips = make_clips(pipe, prompts, plan, size=size)
    accuracies = [accuracy(clip, prompt, factor) for clip, prompt in zip(clips, prompts, strict=True)]
    ones = [one_object(clip) for clip in clips]
    return {"accuracy": mean(accuracies), "error": standard_error(accuracies), "one": mean(ones)}


def accuracy(clip: torch.Tensor, prompt: Prompt, factor: float) -> float:
    """Share of color, shape and direction that are right in a clip whose sides are ``factor`` times the trained."""
    found = judge(clip)
    if factor > 1:
        size = [round(side / factor) for side in clip.shape[1:3]]
        shrunk = F.interpolate(clip.permute(0, 3, 1, 2), size, mode="area").permute(0, 2, 3, 1)
        found = max(found, judge(shrunk), key=lambda verdict: verdict.confidence)
    return mean([float(getattr(found, name) == getattr(prompt.scene, name)) for name in COUNTED])


def one_object(clip: torch.Tensor) -> float:
    """Share of frames of a clip (f, H, W, 3) with one object of at least ``SPECK`` pixels; at most 8 are looked at."""
    import cv2

    away = (clip - clip.flatten(0, 2).median(dim=0).values).norm(dim=-1)
    # Half as far from the background as what differs most.
    strongest = away.flatten().topk(away.numel() // OUTSTANDING).values[-1]
    counts = []
    for frame in (away > strongest / 2).to(torch.uint8).numpy()[:: max(1, len(away) // 8)]:
        areas = cv2.connectedComponentsWithStats(frame)[2][1:, cv2.CC_STAT_AREA]
        counts.append(int((areas >= SPECK).sum()))
    return counts.count(1) / len(counts)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=at_least(2), default=14, help="clips of each method and size")
    parser.add_argument("--points", type=int, default=16, help="of the time grid (default %(default)s)")
    run("extrapolation", parser.parse_args(), measure)
