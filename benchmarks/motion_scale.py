"""How motion scores relate to true motion, on clips whose motion is known: `python benchmarks/motion_scale.py`.

Drawn clips: the mini model's flat shapes on flat grounds. True is the mean displacement per half second over all
pixels, that of the shape where the shape is and 0 elsewhere, in pixels of 320 x 576. Textures: views of synthetic
texture that pan, zoom, or show a textured disc moving over a still ground, once with a quarter of the contrast.
UniMatch, whose scores the released models were trained with, is not run: its weights are a separate download.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common.harness import at_least, make_parser, run  # noqa: E402 - found through the line above
from lumina_core.evaluation.rank_correlation import spearman  # noqa: E402
from lumina_core.media.motion_score import HEIGHT, TIMES, WIDTH, Flow, dis_flow, file_motion_score, motion_score  # noqa: E402
from lumina_core.media.writer import write_video  # noqa: E402
from lumina_core.mini.draw import draw, shape_mask  # noqa: E402
from lumina_core.mini.world import FPS, FRAMES, SIDE, Scene, random_scene  # noqa: E402

PRESETS = ("ultrafast", "fast", "medium")
WORLD = (HEIGHT + 192, WIDTH + 192)
# Two frames half a second apart, (2, 320, 576, 3), and their true score.
Pair = tuple[torch.Tensor, float]
PANS, DISCS, ZOOMS = (2, 8, 16, 32, 64), (8, 32, 64), (1.03, 1.1, 1.2)


def true_score(scene: Scene) -> float:
    """The score of a drawn clip that a perfect estimator gives."""
    axis = torch.arange(SIDE) + 0.5
    centres = [scene.position(frame) for frame in (round(at * FPS) for at in TIMES) if frame < FRAMES]
    means = []
    for (x, y), (next_x, next_y) in pairwise(centres):
        share = float(shape_mask(scene.shape, scene.radius, axis[None] - x, axis[:, None] - y).float().mean())
        means.append(share * (abs(next_x - x) * WIDTH + abs(next_y - y) * HEIGHT) / SIDE / 2)
    return statistics.mean(means)


def bare_flow() -> Flow:
    """DIS, preset fast, without the pattern that `dis_flow` adds to hold flat areas in place."""
    import cv2

    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    weights = torch.tensor([0.299, 0.587, 0.114])

    def flow(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        grey = [(picture @ weights * 255).round().to(torch.uint8).numpy() for picture in (first, second)]
        return torch.from_numpy(search.calc(*grey, None))

    return flow


def drawn(flow: Flow, scenes: list[Scene]) -> dict[str, float]:
    """Line and correlations from true to measured scores, the ratio that H.264 makes, and seconds per file."""
    scores, encoded, seconds = [], [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for scene in scenes:
            frames = draw(scene)
            scores.append(motion_score(frames, FPS, flow))
            path = write_video(Path(folder) / "clip.mp4", frames, FPS).path
            start = time.perf_counter()
            encoded.append(file_motion_score(path, flow))
            seconds += time.perf_counter() - start
    true = [true_score(scene) for scene in scenes]
    line = statistics.linear_regression(true, scores)
    return {
        "slope": line.slope,
        "intercept": line.intercept,
        "pearson": statistics.correlation(true, scores),
        "spearman": spearman(true, scores),
        "h264": statistics.mean(after / before for after, before in zip(encoded, scores, strict=True)),
        "seconds": seconds / len(scenes),
    }


def texture(seed: int) -> torch.Tensor:
    """Grey texture with detail of every size, (1, 1, height, width) in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 1, *WORLD)
    for cell in (2, 4, 8, 16, 32, 64, 128):
        coarse = torch.rand(1, 1, WORLD[0] // cell + 2, WORLD[1] // cell + 2, generator=generator)
        total += cell * F.interpolate(coarse, WORLD, mode="bicubic")
    return ((total - total.mean()) / total.std() * 0.18 + 0.5).clamp(0, 1)


def view(world: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The colors at points (x, y) from the middle of the world, (height, width, 3)."""
    where = torch.stack([x / WORLD[1], y / WORLD[0]], dim=-1)[None] * 2
    return F.grid_sample(world, where, align_corners=False)[0, 0, ..., None].expand(-1, -1, 3)


def texture_pairs(seed: int) -> dict[str, Pair]:
    """Clips of two frames, by kind of motion."""
    ground, top = texture(2 * seed), texture(2 * seed + 1)
    y, x = torch.meshgrid(torch.arange(HEIGHT) - HEIGHT / 2, torch.arange(WIDTH) - WIDTH / 2, indexing="ij")
    still = view(ground, x, y)
    pairs = {f"pan_{step}": (torch.stack([still, view(ground, x - step, y)]), step / 2) for step in PANS}
    for step in DISCS:
        inside = [(x + 60 - moved) ** 2 + y**2 < 90**2 for moved in (0, step)]
        frames = [
            torch.where(mask[..., None], view(top, x - moved, y), still)
            for mask, moved in zip(inside, (0, step), strict=True)
        ]
        pairs[f"disc_{step}"] = torch.stack(frames), float(inside[0].float().mean()) * step / 2
    for factor in ZOOMS:
        true = float((x.abs().mean() + y.abs().mean()) * (factor - 1) / 2)
        pairs[f"zoom_{100 * factor - 100:.0f}"] = torch.stack([still, view(ground, x / factor, y / factor)]), true
    return pairs


def texture_ratios(flow: Flow, pairs: list[dict[str, Pair]], contrast: float) -> dict[str, float]:
    """Measured over true score by kind of motion, the mean over several worlds."""

    def ratio(pair: Pair) -> float:
        frames, true = pair
        return motion_score((frames - 0.5) * contrast + 0.5, 2, flow) / true

    return {name: statistics.mean(ratio(kinds[name]) for kinds in pairs) for name in pairs[0]}


def measure(args: argparse.Namespace) -> dict:
    logging.getLogger("libav").setLevel(logging.ERROR)
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(args.clips)]
    flows = {preset: dis_flow(preset) for preset in PRESETS} | {"fast, without the pattern": bare_flow()}
    pairs = [texture_pairs(seed) for seed in range(3)]
    contrasts = [(preset, preset, 1.0) for preset in PRESETS] + [("fast, a quarter of the contrast", "fast", 0.25)]
    return {
        "clips": len(scenes),
        "drawn": [{"preset": name, **drawn(flow, scenes)} for name, flow in flows.items()],
        "textures": [
            {"preset": name, **texture_ratios(dis_flow(preset), pairs, contrast)}
            for name, preset, contrast in contrasts
        ],
    }


if __name__ == "__main__":
    parser = make_parser(__doc__, threads=1)
    parser.add_argument("--clips", type=at_least(3), default=60, help="drawn clips (default %(default)s)")
    run("motion_scale", parser.parse_args(), measure)
