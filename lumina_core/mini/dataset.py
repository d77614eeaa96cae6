"""Drawn clips and images as encoded data sets, one per data source."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ..media.motion_score import Flow, dis_flow, motion_score
from ..train.shards import IMAGE, VIDEO, ShardWriter
from ..vae.codec import VideoVAE
from ..vae.loader import load_video_vae
from .captions import LANGUAGES, caption
from .draw import draw
from .world import FPS, FRAMES, Scene, random_scene

# Names of the data sources: clips, still images, and clips of outlines.
CLIPS, PICTURES, OUTLINES = "clips", "pictures", "outlines"  # wording: ok


@dataclass(frozen=True)
class DrawnSample:
    """One sample of a data source.

    Args:
        name: unique name in its data set.
        scene: what it shows.
        caption: its text.
        count: number of frames.
    """

    name: str
    scene: Scene
    caption: str
    count: int

    @cached_property
    def frames(self) -> torch.Tensor:
        """Frames (count, 64, 64, 3) in 0..1, drawn on first access, so that a resumed run skips them quickly."""
        return draw(self.scene, self.count)


def drawn_samples(source: str, count: int, seed: int, held_out: bool = False) -> Iterator[DrawnSample]:
    """Random samples of a data source, each determined by its index and the seed.

    Args:
        source: name of the data source, such as ``CLIPS``.
        count: number of samples.
        seed: random seed.
        held_out: whether to draw held-out combinations instead of training combinations.
    """
    for number in range(count):
        rng = random.Random(f"{seed}/{source}/{held_out}/{number}")
        still = source == PICTURES
        scene = random_scene(rng, still=still, held_out=held_out, outline_share=1.0 if source == OUTLINES else 0.0)
        text = caption(scene, rng, rng.choice(LANGUAGES))
        yield DrawnSample(f"{source}-{number:06d}", scene, text, 1 if still else FRAMES)


@dataclass(frozen=True, kw_only=True)
class DrawnDataRecipe:
    """Encoded data sets of drawn samples, each in a subfolder of ``out`` with the name of its source.

    Args:
        out: folder of the data sets.
        vae: folder of the autoencoder that encodes them.
        held_out: number of held-out samples of ``clips`` and of ``outlines``, in folders that end in -held.
        seed: random seed.
    """

    out: Path
    vae: Path
    # Number of training samples of each source.
    clips: int
    pictures: int
    outlines: int
    held_out: int
    seed: int = 0

    def sets(self) -> list[tuple[str, int, bool]]:
        """Source, number of samples, and whether they are held out, for each data set."""
        return [
            (PICTURES, self.pictures, False),
            (CLIPS, self.clips, False),
            (OUTLINES, self.outlines, False),
            (CLIPS, self.held_out, True),
            (OUTLINES, self.held_out, True),
        ]

    def counts(self) -> list[int]:
        """Number of samples of each data set."""
        return [count for _, count, _ in self.sets()]


def write_drawn_data(recipe: DrawnDataRecipe, report: Callable[[str], None] = lambda name: None) -> None:
    """Draw and encode all data sets; an interrupted run resumes.

    Args:
        recipe: folders and sizes.
        report: called with the name of the data set after each sample.
    """
    vae = load_video_vae(recipe.vae)
    flow = dis_flow()
    for source, count, held_out in recipe.sets():
        name = f"{source}-held" if held_out else source
        with ShardWriter(recipe.out / name) as writer:
            for sample in drawn_samples(source, count, recipe.seed, held_out):
                if sample.name not in writer.done:
                    _encode(sample, source, vae, writer, flow)
                report(name)


def _encode(sample: DrawnSample, source: str, vae: VideoVAE, writer: ShardWriter, flow: Flow) -> None:
    latents = vae.encode(sample.frames)[0]
    if source == PICTURES:
        writer.add(sample.name, IMAGE, sample.caption, None, latents, None)
    else:
        writer.add(sample.name, VIDEO, sample.caption, motion_score(sample.frames, FPS, flow), latents, FPS)
