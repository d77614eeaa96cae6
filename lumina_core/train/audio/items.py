"""Which sounds a step trains on, and one of them: cut in time with all its streams, noised, streams left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ...audio.features import CLIP_FPS
from ...audio.sync_align import LATENT_FRAMES_PER_SLOT, SLOT_STRIDE
from ...errors import LuminaError
from ...network.audio_conditioning import AudioCondition
from ...network.audio_config import ROWS_PER_SECOND
from ..batches import Batches, SampleRef, Shape
from ..objective import draw_time
from ..rng import bernoulli
from .recipe import AudioRecipe, AudioSource
from .shards import AudioEntry, AudioItem, AudioSet

STRIDE_ROWS = LATENT_FRAMES_PER_SLOT * SLOT_STRIDE
"""Latent rows from one segment's start to the next."""


@dataclass(frozen=True)
class AudioTrainItem:
    """Data and noise (C, T, F), time t, the streams' features, and which of them are left out."""

    data: torch.Tensor
    noise: torch.Tensor
    t: torch.Tensor
    visual: torch.Tensor
    sync: torch.Tensor
    text: torch.Tensor
    no_video: bool
    no_text: bool


def audio_batches(recipe: AudioRecipe, sets: Mapping[str, AudioSet], patch_rows: int) -> Batches:
    """The batches of a recipe's one task. Raises LuminaError when a source holds nothing that it can use."""
    groups: dict[Shape, list[tuple[SampleRef, float]]] = defaultdict(list)
    for name, source in recipe.sources.items():
        entries = sets[name].entries
        for index in usable(source, sets[name]):
            shape = used_shape(entries[index], recipe.max_rows, patch_rows)
            groups[shape].append((SampleRef(name, index, shape), source.weight))
    return Batches(recipe.task(), groups, recipe.seed)


def usable(source: AudioSource, chosen: AudioSet) -> list[int]:
    """Numbers of the items that the source's AV-Align score lets through; at least one, or a LuminaError."""
    least = source.min_av_align
    if least is None:
        return list(range(len(chosen)))
    scores = [entry.av_align for entry in chosen.entries]
    found = [index for index, score in enumerate(scores) if score is not None and score >= least]
    if not found:
        best = max((score for score in scores if score is not None), default=None)
        told = "none of them has a score" if best is None else f"the best has {best:.3g}"
        raise LuminaError(
            f"Source {source.name} has min_av_align {least:g}, which none of its {len(chosen)} items reaches ({told}); "
            "lower it, or encode other clips."
        )
    return found


def used_shape(entry: AudioEntry, max_rows: int | None, patch_rows: int) -> Shape:
    """Rows, visual frames and segments that are used of an item: all, or those of a crop of ``max_rows`` rows."""
    rows, frames, segments = entry.mean[1], entry.visual[0], entry.sync[0]
    if max_rows is not None and rows > max_rows:
        rows, segments = max_rows, max_rows // STRIDE_ROWS - 1
        frames = min(frames, round(rows / ROWS_PER_SECOND * CLIP_FPS))
    return rows - rows % patch_rows, frames, segments


def make_audio_item(item: AudioItem, shape: Shape, recipe: AudioRecipe, generator: torch.Generator) -> AudioTrainItem:
    """Cut, draw, noise and drop one item; everything random comes from ``generator``."""
    cut = cut_audio(item, shape, generator)
    data = cut.mean + cut.std * torch.randn(cut.mean.shape, generator=generator)
    return AudioTrainItem(
        data=data,
        noise=torch.randn(data.shape, generator=generator),
        t=draw_time(recipe.times, recipe.time_shift, generator),
        visual=cut.visual,
        sync=cut.sync,
        text=cut.text,
        no_video=bernoulli(recipe.drop.video, generator),
        no_text=bernoulli(recipe.drop.text, generator),
    )


def cut_audio(item: AudioItem, shape: Shape, generator: torch.Generator) -> AudioItem:
    """A random part of an item, (rows, visual frames, segments) long, that begins where a segment does.

    Visual frames are taken from the one nearest in time to the beginning, at most 63 ms from it.
    """
    rows, frames, segments = shape
    last = min((item.mean.shape[1] - rows) // STRIDE_ROWS, len(item.sync) - segments)
    first = int(torch.randint(0, last + 1, (), generator=generator))
    row = first * STRIDE_ROWS
    frame = min(round(row / ROWS_PER_SECOND * CLIP_FPS), len(item.visual) - frames)
    return replace(
        item,
        seconds=rows / ROWS_PER_SECOND,
        mean=item.mean[:, row : row + rows],
        std=item.std[:, row : row + rows],
        visual=item.visual[frame : frame + frames],
        sync=item.sync[first : first + segments],
    )


def condition_of(items: list[AudioTrainItem], tokens: int) -> AudioCondition:
    """The items' streams as one batch, texts filled up to so many tokens."""
    lengths = torch.tensor([len(item.text) for item in items])
    text = items[0].text.new_zeros(len(items), tokens, items[0].text.shape[1])
    for row, item in zip(text, items, strict=True):
        row[: len(item.text)] = item.text
    return AudioCondition(
        visual=torch.stack([item.visual for item in items]),
        sync=torch.stack([item.sync for item in items]),
        text=text,
        text_mask=torch.arange(tokens) < lengths[:, None],
        no_video=torch.tensor([item.no_video for item in items]),
        no_text=torch.tensor([item.no_text for item in items]),
    )
