"""Image-to-video and video-to-video without new weights, on the mini bundle: `python -m benchmarks.edit`.

Clips that begin with a drawn frame, clips that continue drawn frames, and drawn clips re-rendered with another prompt,
as the ComfyUI nodes make them. The judge reads what was kept and what follows the prompt.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import replace

import torch

from benchmarks.common.comparison import mean, standard_error
from benchmarks.common.harness import at_least, make_parser, progress, run
from benchmarks.common.mini_clips import default_plan, load, make_clips
from lumina_core.media.motion_score import dis_flow, motion_score
from lumina_core.mini.draw import draw
from lumina_core.mini.judge import judge
from lumina_core.mini.prompts import Prompt, held_out_prompts
from lumina_core.mini.quality import COUNTED
from lumina_core.mini.world import BACKGROUNDS, COLORS, FPS, SHAPES, Scene
from lumina_core.pipelines.video import LuminaVideoPipeline
from lumina_core.sampling.frame_conditioning import condition_on_frames
from lumina_core.sampling.noise import noised
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.shapes.latents import VAE_FRAMES

# Pixels per frame of the drawn sources: none turns back within its clip.
SPEED = 1.0
# What a prompt changes of its source, alternating.
NAMES = {"color": tuple(COLORS), "shape": SHAPES, "background": tuple(BACKGROUNDS)}
# Pixels between two frames up to which a shape counts as continuing.
NEAR = 3.0
HOLDS = (0.0, 0.35, 0.5, 0.65)
# Flow time of a start from the still alone.
STILL_START = 0.2
# Shares of the steps that are run, as the host counts denoise.
STRENGTHS = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.0)


def measure(args: argparse.Namespace) -> dict:
    pipe, prompts = load(args.bundle), held_out_prompts(args.prompts)
    scenes = [replace(prompt.scene, speed=SPEED) for prompt in prompts]
    flow = dis_flow()
    motion = round(mean([motion_score(draw(scene), FPS, flow) for scene in scenes]), 1)
    plan = default_plan(pipe, args.points).replace(motion=motion)
    begun = beginnings(pipe, prompts, scenes, plan)
    sources, changed = other_sources(scenes)
    rerendered = {f"strength {strength:g}": rerender(pipe, prompts, sources, plan, strength) for strength in STRENGTHS}
    return {
        "prompts": args.prompts, "points": plan.points, "motion": motion,
        "image_to_video": [
            {"begins": name, **summary([
                read_begun(clip, prompt, scene, 8 if name.startswith("8") else 1)
                for clip, prompt, scene in zip(clips, prompts, scenes, strict=True)
            ])} for name, clips in begun.items()
        ],
        "video_to_video": [
            {"strength": strength, "t": float(plan.grid()[round((1 - strength) * plan.steps)]), **summary([
                read_rerendered(clip, prompt, source, name)
                for clip, prompt, source, name in zip(clips, prompts, sources, changed, strict=True)
            ])} for strength, clips in zip(STRENGTHS, rerendered.values(), strict=True)
        ],
    }  # fmt: skip


def beginnings(
    pipe: LuminaVideoPipeline, prompts: list[Prompt], scenes: list[Scene], plan: SamplingPlan
) -> dict[str, list[torch.Tensor]]:
    """Clips of every row of the table of image-to-video, by the row's name; clip i starts from noise i."""

    def begin(images: int, hold: float, plan: SamplingPlan = plan) -> list[torch.Tensor]:
        pairs = enumerate(zip(prompts, scenes, strict=True))
        return [make_clips(pipe, [p], plan, i, image=draw(s)[:images], hold=hold)[0] for i, (p, s) in pairs]

    def from_still(seed: int, prompt: Prompt, scene: Scene) -> torch.Tensor:
        step, size = int((plan.grid() < STILL_START).sum()), pipe.defaults.size
        still = condition_on_frames(pipe.encode_frames, draw(scene)[:1], size.frames).latents
        state = noised(still, pipe.prepare_latents(size, (seed,)), plan.grid()[step])
        return make_clips(pipe, [prompt], plan, latents=state, start=step)[0]

    clips = {"the drawn clip": [pipe.decode(pipe.encode_frames(draw(scene)))[0] for scene in scenes]}
    clips["no image"] = make_clips(pipe, prompts, plan)
    clips["no hold, from the still at t = 0.2"] = [
        from_still(seed, prompt, scene) for seed, (prompt, scene) in enumerate(zip(prompts, scenes, strict=True))
    ]
    clips |= {f"one image, hold {hold:g}": begin(1, hold) for hold in HOLDS}
    twice = plan.replace(motion=2 * plan.motion.values[0])
    clips["the same at 0.5, twice the motion score"] = begin(1, 0.5, twice)
    clips |= {f"8 frames, hold {hold:g}": begin(8, hold) for hold in (0.0, 0.5)}
    progress("image-to-video")
    return clips


def rerender(
    pipe: LuminaVideoPipeline, prompts: list[Prompt], sources: list[Scene], plan: SamplingPlan, strength: float
) -> list[torch.Tensor]:
    """Clips from the last share of the steps, beginning at the sources; strength 0 is the source through the VAE."""
    progress(f"video-to-video, strength {strength:g}")
    if not strength:
        return [pipe.decode(pipe.encode_frames(draw(source)))[0] for source in sources]
    pairs = enumerate(zip(prompts, sources, strict=True))
    return [make_clips(pipe, [p], plan, i, video=draw(s), strength=strength)[0] for i, (p, s) in pairs]


def other_sources(scenes: list[Scene]) -> tuple[list[Scene], list[str]]:
    """The scenes with one name changed, and which: so the prompt asks to change that one."""
    rng = random.Random("edit")
    sources, changed = [], []
    for number, scene in enumerate(scenes):
        name = list(NAMES)[number % len(NAMES)]
        others = [value for value in NAMES[name] if value != getattr(scene, name)]
        sources.append(replace(scene, **{name: rng.choice(others)}))
        changed.append(name)
    return sources, changed


def read_begun(clip: torch.Tensor, prompt: Prompt, scene: Scene, images: int) -> dict[str, float | None]:
    """A clip whose first ``images`` frames (one lasts for 4) are given; None where nothing is found to measure.

    `first` is the PSNR of the first frame in dB, `jump` how many pixels the shape moves from the last given frame to
    the next, `near` whether that is at most NEAR; the others are of the frames after the given ones.
    """
    border = VAE_FRAMES if images == 1 else images
    after, places = judge(clip[border:]), judge(clip).centers
    jump = distance(places[border - 1], places[border])
    right = {name: float(getattr(after, name) == getattr(prompt.scene, name)) for name in COUNTED}
    return {
        "first": psnr(clip[0], draw(scene)[0]), "jump": jump, "near": float(jump is not None and jump <= NEAR),
        "accuracy": mean(list(right.values())), "direction": right["direction"], "speed": after.speed,
        "size": abs(after.radius / scene.radius - 1) if after.radius else None,
    }  # fmt: skip


def read_rerendered(clip: torch.Tensor, prompt: Prompt, source: Scene, changed: str) -> dict[str, float | None]:
    """A clip against its prompt and its source: whether the changed name is the prompt's, share of the other names that
    were kept, direction, mean distance in pixels of the shape from its place in the source, PSNR against the source."""
    found = judge(clip)
    right = {name: float(getattr(found, name) == getattr(prompt.scene, name)) for name in (*NAMES, "direction")}
    paths = [distance(place, source.position(frame)) for frame, place in enumerate(found.centers)]
    distances = [path for path in paths if path is not None]
    return {
        "new": right[changed], "kept": mean([right[name] for name in NAMES if name != changed]),
        "direction": right["direction"], "distance": mean(distances) if distances else None,
        "psnr": psnr(clip, draw(source)),
    }  # fmt: skip


def distance(first: tuple[float, float] | None, second: tuple[float, float] | None) -> float | None:
    return None if first is None or second is None else math.dist(first, second)


def psnr(found: torch.Tensor, reference: torch.Tensor) -> float:
    """In dB, of values 0 to 1."""
    return -10 * math.log10(max(float((found - reference).square().mean()), 1e-9))


def summary(clips: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean and standard error (`..._error`) of every field over the clips that have it; None for fewer than two."""
    found: dict[str, float | None] = {}
    for name in clips[0]:
        values = [value for clip in clips if (value := clip[name]) is not None]
        several = len(values) > 1
        found |= {name: mean(values) if several else None, f"{name}_error": standard_error(values) if several else None}
    return found


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=at_least(3), default=24, help="clips of each row (default %(default)s)")
    # The weakest strength, 0.1, runs at least one step of the grid.
    parser.add_argument("--points", type=at_least(11), default=21, help="of the time grid (default %(default)s)")
    run("edit", parser.parse_args(), measure)
