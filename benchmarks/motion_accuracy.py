"""How measured motion scores relate to true motion: `python -m benchmarks.motion_accuracy`.

Drawn clips: flat shapes of the bundled model's training domain. Pans: synthetic texture. True motion is in pixels of
320 x 576 per half second. UniMatch, the estimator of the released scores, is not run: its weights are a download.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.common.harness import make_parser, run
from lumina_core.evaluation.rank_correlation import spearman
from lumina_core.media.motion_score import HEIGHT, TIMES, WIDTH, Flow, dis_flow, file_motion_score, motion_score
from lumina_core.media.writer import write_video
from lumina_core.mini.draw import draw, shape_mask
from lumina_core.mini.world import FPS, FRAMES, SIDE, Scene, random_scene

PRESETS, PANS = ("ultrafast", "fast", "medium"), (2, 8, 16, 32, 64)


def true_score(scene: Scene) -> float:
    """The score of a drawn clip that a perfect estimator gives."""
    axis = torch.arange(SIDE) + 0.5
    centers = [scene.position(frame) for frame in (round(at * FPS) for at in TIMES) if frame < FRAMES]
    means = []
    for (x, y), (next_x, next_y) in pairwise(centers):
        share = float(shape_mask(scene.shape, scene.radius, axis[None] - x, axis[:, None] - y).float().mean())
        means.append(share * (abs(next_x - x) * WIDTH + abs(next_y - y) * HEIGHT) / SIDE / 2)
    return statistics.mean(means)


def drawn(flow: Flow, scenes: list[Scene]) -> dict[str, float]:
    """Line and correlations from true to measured scores, and the ratio that H.264 makes."""
    scores, encoded = [], []
    with tempfile.TemporaryDirectory() as folder:
        for scene in scenes:
            scores.append(motion_score(draw(scene), FPS, flow))
            encoded.append(file_motion_score(write_video(Path(folder) / "clip.mp4", draw(scene), FPS).path, flow))
    true = [true_score(scene) for scene in scenes]
    slope, intercept = statistics.linear_regression(true, scores)
    ratio = statistics.mean(after / before for after, before in zip(encoded, scores, strict=True))
    order = spearman(true, scores)
    return {"slope": slope, "intercept": intercept, "spearman": order, "h264": ratio}


def pans(flow: Flow) -> dict[str, float]:
    """Measured over true score of texture that moves sideways by so many pixels per half second."""
    generator, size = torch.Generator().manual_seed(0), (HEIGHT, WIDTH + max(PANS))
    cells = [torch.rand(1, 1, HEIGHT // c, size[1] // c, generator=generator) * c for c in (2, 4, 8, 16, 32, 64)]
    world = torch.stack([F.interpolate(cell, size, mode="bicubic")[0, 0] for cell in cells]).sum(0)
    world = ((world - world.mean()) / world.std() * 0.18 + 0.5).clamp(0, 1)[..., None].expand(-1, -1, 3)
    views = {step: torch.stack([world[:, step : step + WIDTH], world[:, :WIDTH]]) for step in PANS}
    return {f"pan_{step}": motion_score(frames, 2, flow) / (step / 2) for step, frames in views.items()}


def measure(args: argparse.Namespace) -> dict:
    rng, flows = random.Random(0), {preset: dis_flow(preset) for preset in PRESETS}
    scenes = [random_scene(rng) for _ in range(60)]
    rows = [{"preset": name, **drawn(flow, scenes), **pans(flow)} for name, flow in flows.items()]
    return {"clips": len(scenes), "rows": rows}


if __name__ == "__main__":
    run("motion_accuracy", make_parser(__doc__, threads=1).parse_args(), measure)
