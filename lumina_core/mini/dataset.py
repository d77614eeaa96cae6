"""Drawn clips and pictures as encoded training sets, one for each data source."""

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

CLIPS, PICTURES, OUTLINES = "clips", "pictures", "outlines"


@dataclass(frozen=True)
class DrawnItem:
    """One item of a source."""

    name: str
    scene: Scene
    caption: str
    count: int

    @cached_property
    def frames(self) -> torch.Tensor:
        """(count, 64, 64, 3) in 0..1; drawn when first asked for, so that a resumed run skips what is done quickly."""
        return draw(self.scene, self.count)


def drawn_items(source: str, count: int, seed: int, held: bool = False) -> Iterator[DrawnItem]:
    """The items of a source: ``clips``, ``pictures`` or ``outlines``; with ``held``, of the combinations kept out of
    training. Each depends on its number and the seed alone."""
    for number in range(count):
        rng = random.Random(f"{seed}/{source}/{held}/{number}")
        still = source == PICTURES
        scene = random_scene(rng, still=still, held=held, outline_share=1.0 if source == OUTLINES else 0.0)
        text = caption(scene, rng, rng.choice(LANGUAGES))
        yield DrawnItem(f"{source}-{number:06d}", scene, text, 1 if still else FRAMES)


@dataclass(frozen=True, kw_only=True)
class DrawnDataRecipe:
    """Encoded sets of drawn items, each in a folder of its source's name below ``out``.

    Args:
        out: folder of the sets.
        vae: autoencoder that they are encoded with.
        clips, pictures, outlines: items of each source.
        held_out: items of ``clips`` and ``outlines`` each from combinations that training never sees, in folders that
            end in -held.
        seed: of everything drawn.
    """

    out: Path
    vae: Path
    clips: int
    pictures: int
    outlines: int
    held_out: int
    seed: int = 0

    def sets(self) -> list[tuple[str, int, bool]]:
        """Source, number of items, and whether of held-out combinations, of every set."""
        return [
            (PICTURES, self.pictures, False),
            (CLIPS, self.clips, False),
            (OUTLINES, self.outlines, False),
            (CLIPS, self.held_out, True),
            (OUTLINES, self.held_out, True),
        ]

    def counts(self) -> list[int]:
        return [count for _, count, _ in self.sets()]


def write_drawn_data(recipe: DrawnDataRecipe, report: Callable[[str], None] = lambda name: None) -> None:
    """Draw and encode all sets; an interrupted run is continued. ``report`` is told the set's name for every item."""
    vae = load_video_vae(recipe.vae)
    flow = dis_flow()
    for source, count, held in recipe.sets():
        name = f"{source}-held" if held else source
        with ShardWriter(recipe.out / name) as writer:
            for item in drawn_items(source, count, recipe.seed, held):
                if item.name not in writer.done:
                    _encode(item, source, vae, writer, flow)
                report(name)


def _encode(item: DrawnItem, source: str, vae: VideoVAE, writer: ShardWriter, flow: Flow) -> None:
    latents = vae.encode(item.frames)[0]
    if source == PICTURES:
        writer.add(item.name, IMAGE, item.caption, None, latents, None)
    else:
        writer.add(item.name, VIDEO, item.caption, motion_score(item.frames, FPS, flow), latents, FPS)
