"""Image-to-video and video-to-video without new weights, on the mini bundle: `python benchmarks/edit.py`.

Clips that begin with a drawn frame, clips that continue drawn frames, and drawn clips re-rendered with another prompt,
as the ComfyUI nodes make them. The judge reads what was kept and what follows the prompt.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common.comparison import mean, standard_error  # noqa: E402 - found through the line above
from benchmarks.common.harness import at_least, make_parser, progress, run  # noqa: E402
from benchmarks.common.mini_clips import BATCH, Mini, Prompt, held_out_prompts, load  # noqa: E402
from benchmarks.common.quality import COUNTED  # noqa: E402
from benchmarks.common.strips import save_strips  # noqa: E402
from lumina_core.media.motion_score import dis_flow, motion_score  # noqa: E402
from lumina_core.mini.draw import draw  # noqa: E402
from lumina_core.mini.judge import judge  # noqa: E402
from lumina_core.mini.world import BACKGROUNDS, COLORS, FPS, SHAPES, Scene  # noqa: E402
from lumina_core.sampling.frame_conditioning import FrameCondition, condition_on_frames, noised  # noqa: E402
from lumina_core.sampling.plan import SamplingPlan  # noqa: E402
from lumina_core.sampling.video import sample  # noqa: E402
from lumina_core.shapes.latents import VAE_FRAMES  # noqa: E402

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
# Rows that the picture shows.
PICTURED = ("one image, hold 0", "one image, hold 0.5", "strength 0.6", "strength 0.4", "strength 0.2")


def measure(args: argparse.Namespace) -> dict:
    mini, prompts = load(args.bundle, args.points), held_out_prompts(args.prompts)
    scenes = [replace(prompt.scene, speed=SPEED) for prompt in prompts]
    flow = dis_flow()
    motion = round(mean([motion_score(draw(scene), FPS, flow) for scene in scenes]), 1)
    plan = mini.default.replace(motion=motion)
    begun = beginnings(mini, prompts, scenes, plan)
    sources, changed = other_sources(scenes)
    rerendered = {f"strength {strength:g}": rerender(mini, prompts, sources, plan, strength) for strength in STRENGTHS}
    if args.picture:
        clips = {**begun, **rerendered}
        save_strips([(name, clips[name][number]) for number in (0, 1) for name in PICTURED], args.picture)
    return {
        "prompts": args.prompts, "points": plan.points, "motion": motion,
        "image_to_video": [
            {"begins": name, **summary([
                read_begun(clip, prompt, scene, 8 if name.startswith("8") else 1)
                for clip, prompt, scene in zip(clips, prompts, scenes, strict=True)
            ])} for name, clips in begun.items()
        ],
        "video_to_video": [
            {"strength": strength, "t": float(plan.grid()[first_step(plan, strength)]), **summary([
                read_rerendered(clip, prompt, source, name)
                for clip, prompt, source, name in zip(clips, prompts, sources, changed, strict=True)
            ])} for strength, clips in zip(STRENGTHS, rerendered.values(), strict=True)
        ],
    }  # fmt: skip


def beginnings(mini: Mini, prompts: list[Prompt], scenes: list[Scene], plan: SamplingPlan) -> dict[str, list]:
    """Clips of every row of the table of image-to-video, by the row's name."""
    stills = [condition_on_frames(mini.vae.encode, draw(scene)[:1], mini.bundle.size.frames) for scene in scenes]
    late = int((plan.grid() < STILL_START).sum())
    livelier = plan.replace(motion=2 * plan.motion.values[0])
    clips = {"the drawn clip": [mini.vae.decode(mini.vae.encode(draw(scene))) for scene in scenes]}
    clips["no image"] = make(mini, prompts, plan)
    clips["no hold, from the still at t = 0.2"] = make(
        mini, prompts, plan, source=torch.cat([still.latents for still in stills]), start=late
    )
    clips |= {f"one image, hold {hold:g}": begin(mini, prompts, scenes, 1, hold, plan) for hold in HOLDS}
    clips["the same at 0.5, twice the motion score"] = begin(mini, prompts, scenes, 1, 0.5, livelier)
    clips |= {f"8 frames, hold {hold:g}": begin(mini, prompts, scenes, 8, hold, plan) for hold in (0.0, 0.5)}
    progress("image-to-video")
    return clips


def begin(
    mini: Mini, prompts: list[Prompt], scenes: list[Scene], images: int, hold: float, plan: SamplingPlan
) -> list[torch.Tensor]:
    """Clips that begin with so many frames of their scenes."""
    size = mini.bundle.size.frames
    found = [condition_on_frames(mini.vae.encode, draw(scene)[:images], size, hold) for scene in scenes]
    return make(mini, prompts, plan, conditions=found)


def make(
    mini: Mini,
    prompts: list[Prompt],
    plan: SamplingPlan,
    conditions: list[FrameCondition] | None = None,
    source: torch.Tensor | None = None,
    start: int = 0,
) -> list[torch.Tensor]:
    """Clips (f, H, W, 3) of the prompts; clip i starts from noise i, or from its source's latents at a later step."""
    (features, mask), negative = mini.texts(prompts)
    clips: list[torch.Tensor] = []
    for first in range(0, len(prompts), BATCH):
        rows = slice(first, min(first + BATCH, len(prompts)))
        state, condition = torch.cat([mini.noise(i) for i in range(rows.start, rows.stop)]), None
        if source is not None:
            state = noised(source[rows], state, plan.grid()[start])
        if conditions is not None:
            known = torch.cat([one.latents for one in conditions[rows]])
            condition = FrameCondition(known, conditions[0].release_times)
        positive = features[rows], mask[rows]
        latents = sample(mini.model, state, plan, positive, negative, start=start, condition=condition)
        clips += [mini.vae.decode(one[None]) for one in latents]
    return clips


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


def rerender(mini: Mini, prompts: list[Prompt], sources: list[Scene], plan: SamplingPlan, strength: float) -> list:
    """Clips from the last share of the steps, beginning at the sources' latents."""
    given = torch.cat([mini.vae.encode(draw(scene)) for scene in sources])
    progress(f"video-to-video, strength {strength:g}")
    return make(mini, prompts, plan, source=given, start=first_step(plan, strength))


def first_step(plan: SamplingPlan, strength: float) -> int:
    return round((1 - strength) * plan.steps)


def read_begun(clip: torch.Tensor, prompt: Prompt, scene: Scene, images: int) -> dict[str, float | None]:
    """A clip whose first ``images`` frames (one lasts for 4) are given; None where nothing is found to measure.

    `first` is the PSNR of the first frame in dB, `jump` how many pixels the shape moves from the last given frame to
    the next, `near` whether that is at most NEAR; the others are of the frames after the given ones.
    """
    border = VAE_FRAMES if images == 1 else images
    after, places = judge(clip[border:]), judge(clip).centres
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
    paths = [distance(place, source.position(frame)) for frame, place in enumerate(found.centres)]
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
    parser.add_argument("--points", type=int, default=21, help="of the time grid (default %(default)s)")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="write frames of the first two clips there")
    run("edit", parser.parse_args(), measure)
