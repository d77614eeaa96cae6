"""Clips that begin with a picture, go on from frames, or are made over, on a bundle: what is kept, what follows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch

from lumina_core.mini.draw import draw
from lumina_core.mini.judge import judge
from lumina_core.mini.world import BACKGROUNDS, COLOURS, SHAPES, Scene
from lumina_core.sampling.frame_conditioning import given_latents, release_times
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.shapes.latents import VAE_FRAMES
from lumina_core.vae.codec import FRAME_BATCH

from .held import sample_held
from .mini import BATCH, Mini, Prompt
from .quality import COUNTED, mean

SPEED = 1.0
"""Pixels per frame of the drawn sources: none turns back within its clip."""
NAMES = {"colour": tuple(COLOURS), "shape": SHAPES, "background": tuple(BACKGROUNDS)}
"""What a prompt changes of its source, in turns."""
NEAR = 3.0
"""Pixels between two frames up to which a shape goes on and does not jump."""


@dataclass(frozen=True)
class Begun:
    """One clip that begins with given frames; None where nothing is found to measure.

    Args:
        first: PSNR in dB of the first frame against the given picture.
        jump: pixels that the shape moves over the border, from the last given frame to the next.
        near: 1 where that is at most NEAR.
        accuracy: mean of colour, shape and direction in the frames behind the given ones, 0 to 1.
        direction: the last of these alone.
        size: change of the shape's radius behind the border, as a share of the source's.
        speed: pixels per frame behind the border.
    """

    first: float
    jump: float | None
    near: float
    accuracy: float
    direction: float
    size: float | None
    speed: float


@dataclass(frozen=True)
class MadeOver:
    """One clip made over from another. Shares are 0 to 1.

    Args:
        new: the changed name is the prompt's.
        kept: share of the other names that are as in source and prompt.
        direction: as in source and prompt.
        distance: pixels between the shape's places here and in the source, mean over the frames; None if none is found.
        likeness: PSNR in dB against the source.
    """

    new: float
    kept: float
    direction: float
    distance: float | None
    likeness: float


def sources(prompts: Sequence[Prompt]) -> list[Scene]:
    """What each prompt asks for, at one speed."""
    return [replace(prompt.scene, speed=SPEED) for prompt in prompts]


def other_sources(prompts: Sequence[Prompt]) -> tuple[list[Scene], list[str]]:
    """The same with one name changed, and which: so the prompt asks to change that one."""
    rng = random.Random("edit")
    scenes, changed = [], []
    for number, scene in enumerate(sources(prompts)):
        name = list(NAMES)[number % len(NAMES)]
        others = [value for value in NAMES[name] if value != getattr(scene, name)]
        scenes.append(replace(scene, **{name: rng.choice(others)}))
        changed.append(name)
    return scenes, changed


def beginning(mini: Mini, frames: torch.Tensor) -> torch.Tensor:
    """Latents of a clip of these given frames and a still of the last, as the node makes them."""
    still = frames[-1:].expand(FRAME_BATCH, -1, -1, -1)
    known = mini.vae.encode(still if len(frames) == 1 else torch.cat([frames, still]))
    given, total = given_latents(len(frames), mini.bundle.size.frames), mini.size.frames
    return torch.cat([known[:, :, :given], known[:, :, -1:].expand(-1, -1, total - given, -1, -1)], dim=2)


def make(
    mini: Mini,
    prompts: Sequence[Prompt],
    plan: SamplingPlan,
    given: torch.Tensor,
    release: Sequence[float] | None = None,
    start: int = 0,
) -> list[torch.Tensor]:
    """Clips (f, H, W, 3) of the prompts; clip i starts from noise i."""
    (features, mask), negative = mini.texts(list(prompts))
    clips: list[torch.Tensor] = []
    for first in range(0, len(prompts), BATCH):
        rows = slice(first, min(first + BATCH, len(prompts)))
        noise = torch.cat([mini.noise(i) for i in range(rows.start, rows.stop)])
        texts = (features[rows], mask[rows]), negative
        latents = sample_held(mini.model, plan, noise, texts, given[rows], release, start)
        clips += [mini.vae.decode(item[None]) for item in latents]
    return clips


def begin(
    mini: Mini, prompts: Sequence[Prompt], pictures: int, hold: float | None, plan: SamplingPlan, start: int = 0
) -> list[torch.Tensor]:
    """Clips that begin with so many frames of their sources; ``hold`` None gives none, but starts from them."""
    given = torch.cat([beginning(mini, draw(scene)[:pictures]) for scene in sources(prompts)])
    known = given_latents(pictures, mini.bundle.size.frames)
    release = None if hold is None else release_times(known, mini.size.frames, hold)
    return make(mini, prompts, plan, given, release, start)


def read_begun(clip: torch.Tensor, prompt: Prompt, scene: Scene, pictures: int) -> Begun:
    """Measure a clip whose first ``pictures`` frames (one stands for 4) are given."""
    border = VAE_FRAMES if pictures == 1 else pictures
    behind, places = judge(clip[border:]), judge(clip).centres
    jump = apart(places[border - 1], places[border])
    right = {name: float(getattr(behind, name) == getattr(prompt.scene, name)) for name in COUNTED}
    return Begun(
        first=psnr(clip[0], draw(scene)[0]),
        jump=jump,
        near=float(jump is not None and jump <= NEAR),
        accuracy=mean(list(right.values())),
        direction=right["direction"],
        size=abs(behind.radius / scene.radius - 1) if behind.radius else None,
        speed=behind.speed,
    )


def read_made_over(clip: torch.Tensor, prompt: Prompt, source: Scene, changed: str) -> MadeOver:
    """Measure a clip against its prompt and the scene that it was made over from."""
    found = judge(clip)
    right = {name: float(getattr(found, name) == getattr(prompt.scene, name)) for name in (*NAMES, "direction")}
    paths = [apart(place, source.position(frame)) for frame, place in enumerate(found.centres)]
    distances = [distance for distance in paths if distance is not None]
    return MadeOver(
        new=right[changed],
        kept=mean([right[name] for name in NAMES if name != changed]),
        direction=right["direction"],
        distance=mean(distances) if distances else None,
        likeness=psnr(clip, draw(source)),
    )


def apart(first: tuple[float, float] | None, second: tuple[float, float] | None) -> float | None:
    return None if first is None or second is None else math.dist(first, second)


def psnr(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """In dB, of values 0 to 1."""
    return -10 * math.log10(max(float((found - wanted).square().mean()), 1e-9))


def summary(rows: Sequence[Begun] | Sequence[MadeOver]) -> dict[str, dict[str, float] | None]:
    """Mean and standard error of every field over the clips that have one."""
    found = {}
    for field in fields(rows[0]):
        values = [getattr(row, field.name) for row in rows if getattr(row, field.name) is not None]
        found[field.name] = None if len(values) < 2 else {"mean": mean(values), "error": _error(values)}
    return found


def _error(values: list[float]) -> float:
    centre = mean(values)
    return math.sqrt(sum((value - centre) ** 2 for value in values) / (len(values) - 1) / len(values))
