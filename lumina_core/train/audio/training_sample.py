"""Batches of audio, and one training sample: a crop in time, noise, timestep, and the conditions after dropout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ...errors import LuminaError
from ...network.audio_conditioning import AudioCondition
from ...shapes.audio_rates import CLIP_FPS, LATENT_FRAMES_PER_SLOT, LATENT_RATE, SLOT_STRIDE
from ..batches import Batches, BatchShape, SampleRef
from ..objective import draw_timestep
from ..rng import bernoulli
from .recipe import AudioRecipe, AudioSource
from .shards import AudioEntry, AudioItem, AudioSet

# Latent frames from the start of one Synchformer segment to that of the next.
SEGMENT_STRIDE = LATENT_FRAMES_PER_SLOT * SLOT_STRIDE


@dataclass(frozen=True)
class AudioTrainSample:
    """One training sample.

    Args:
        data, noise: latents (C, T, F).
        t: timestep, a scalar in 0..1.
        visual: CLIP features of the frames, (N, Dv).
        sync: Synchformer features of the segments, (S, 8, Ds).
        text: CLIP features of the caption, (L, Dt).
        no_video, no_text: which conditions are dropped.
    """

    data: torch.Tensor
    noise: torch.Tensor
    t: torch.Tensor
    visual: torch.Tensor
    sync: torch.Tensor
    text: torch.Tensor
    no_video: bool
    no_text: bool


def audio_batches(recipe: AudioRecipe, sets: Mapping[str, AudioSet], patch_rows: int) -> Batches:
    """The batches of a recipe's only task.

    Args:
        recipe: sources, batch size and seed.
        sets: the encoded data set of each source.
        patch_rows: latent frames per patch.

    Raises:
        LuminaError: a source has no usable item.
    """
    groups: dict[BatchShape, list[tuple[SampleRef, float]]] = defaultdict(list)
    for name, source in recipe.sources.items():
        entries = sets[name].entries
        for index in usable_entries(source, sets[name]):
            shape = crop_shape(entries[index], recipe.max_rows, patch_rows)
            groups[shape].append((SampleRef(name, index, shape), source.weight))
    return Batches(recipe.task(), groups, recipe.seed)


def usable_entries(source: AudioSource, items: AudioSet) -> list[int]:
    """Indices of the items with the source's minimum AV-Align score. Raises LuminaError if there is none."""
    least = source.min_av_align
    if least is None:
        return list(range(len(items)))
    scores = [entry.av_align for entry in items.entries]
    found = [index for index, score in enumerate(scores) if score is not None and score >= least]
    if not found:
        best = max((score for score in scores if score is not None), default=None)
        found_best = "none has a score" if best is None else f"the highest score is {best:.3g}"
        raise LuminaError(
            f"Source {source.name} has min_av_align {least:g}, which none of its {len(items)} items reaches "
            f"({found_best}); lower it, or encode other clips.",
            field="min_av_align",
            kind="mismatch",
        )
    return found


def crop_shape(entry: AudioEntry, max_rows: int | None, patch_rows: int) -> BatchShape:
    """Latent frames, CLIP frames and Synchformer segments of a training sample.

    Args:
        entry: of the item.
        max_rows: maximum number of latent frames; longer items are cropped to it. None for no limit.
        patch_rows: latent frames per patch, which divides the result.
    """
    rows, frames, segments = entry.mean[1], entry.visual[0], entry.sync[0]
    if max_rows is not None and rows > max_rows:
        rows, segments = max_rows, max_rows // SEGMENT_STRIDE - 1
        frames = min(frames, round(rows / LATENT_RATE * CLIP_FPS))
    return rows - rows % patch_rows, frames, segments


def make_audio_sample(
    item: AudioItem, shape: BatchShape, recipe: AudioRecipe, generator: torch.Generator
) -> AudioTrainSample:
    """Make a training sample of one item, with latents drawn from the codec's posterior.

    Args:
        item: encoded clip.
        shape: latent frames, CLIP frames and segments to crop to.
        recipe: distribution of t, and dropout rates.
        generator: source of all randomness.
    """
    crop = crop_audio(item, shape, generator)
    data = crop.mean + crop.std * torch.randn(crop.mean.shape, generator=generator)
    return AudioTrainSample(
        data=data,
        noise=torch.randn(data.shape, generator=generator),
        t=draw_timestep(recipe.times, recipe.time_shift, generator),
        visual=crop.visual,
        sync=crop.sync,
        text=crop.text,
        no_video=bernoulli(recipe.drop.video, generator),
        no_text=bernoulli(recipe.drop.text, generator),
    )


def crop_audio(item: AudioItem, shape: BatchShape, generator: torch.Generator) -> AudioItem:
    """Crop an item in time to ``shape``, starting at a random Synchformer segment.

    CLIP frames start at the one nearest in time, which is at most 63 ms off.

    Args:
        item: encoded clip.
        shape: latent frames, CLIP frames and segments.
        generator: draws the start.
    """
    rows, frames, segments = shape
    last = min((item.mean.shape[1] - rows) // SEGMENT_STRIDE, len(item.sync) - segments)
    first = int(torch.randint(0, last + 1, (), generator=generator))
    row = first * SEGMENT_STRIDE
    frame = min(round(row / LATENT_RATE * CLIP_FPS), len(item.visual) - frames)
    return replace(
        item,
        seconds=rows / LATENT_RATE,
        mean=item.mean[:, row : row + rows],
        std=item.std[:, row : row + rows],
        visual=item.visual[frame : frame + frames],
        sync=item.sync[first : first + segments],
    )


def batch_condition(samples: list[AudioTrainSample], tokens: int) -> AudioCondition:
    """The conditions of B samples of one shape as a batch, with texts padded to ``tokens``."""
    lengths = torch.tensor([len(sample.text) for sample in samples])
    text = samples[0].text.new_zeros(len(samples), tokens, samples[0].text.shape[1])
    for row, sample in zip(text, samples, strict=True):
        row[: len(sample.text)] = sample.text
    return AudioCondition(
        visual=torch.stack([sample.visual for sample in samples]),
        sync=torch.stack([sample.sync for sample in samples]),
        text=text,
        text_mask=torch.arange(tokens) < lengths[:, None],
        no_video=torch.tensor([sample.no_video for sample in samples]),
        no_text=torch.tensor([sample.no_text for sample in samples]),
    )
