"""Clips of the small world with their sound, as encoded sets for training the mini voice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ..audio.codec_loader import AudioCodec, load_audio_codec
from ..audio.features import FeatureEncoder, load_feature_encoder
from ..train.audio.shards import AudioItem, AudioShardWriter
from .audio_captions import audio_caption
from .audio_world import SECONDS, AudioScene, draw_audio_scene, random_audio_scene, synthesise
from .captions import LANGUAGES

RATES = (8.0, 8.0, 12.0, 16.0, 24.0, 25.0)
"""Frames a second that clips are drawn at; the mini video model's own rate twice as often."""
CLIPS = "clips"


@dataclass(frozen=True)
class AudioClip:
    """One clip; drawn and heard when first asked for, so that a resumed run skips what is done quickly."""

    name: str
    scene: AudioScene
    caption: str
    fps: float

    @cached_property
    def frames(self) -> torch.Tensor:
        """(n, 64, 64, 3) in 0..1."""
        return draw_audio_scene(self.scene, self.fps)

    @cached_property
    def waveform(self) -> torch.Tensor:
        """(1, 64000) at 16 kHz."""
        return synthesise(self.scene)[None]


def audio_clips(count: int, seed: int, held: bool = False) -> Iterator[AudioClip]:
    """Clips that depend on their number and the seed alone; with ``held``, of the combinations kept out of training."""
    for number in range(count):
        rng = random.Random(f"{seed}/sound/{held}/{number}")
        scene = random_audio_scene(rng, held=held)
        caption = audio_caption(scene, rng, rng.choice(LANGUAGES))
        yield AudioClip(f"sound-{number:06d}", scene, caption, rng.choice(RATES))


@dataclass(frozen=True, kw_only=True)
class AudioDataRecipe:
    """Encoded sets of drawn clips with sound: ``clips``, and ``clips-held`` of combinations that are never trained on.

    Args:
        out: folder of the sets.
        features: folder of the encoders.
        codec: folder of the audio codec.
        clips, held_out: clips of each set.
        seed: of everything drawn.
    """

    out: Path
    features: Path
    codec: Path
    clips: int
    held_out: int
    seed: int = 0

    def sets(self) -> list[tuple[str, int, bool]]:
        """Name, number of clips, and whether of held-out combinations, of every set."""
        return [(CLIPS, self.clips, False), (f"{CLIPS}-held", self.held_out, True)]

    def counts(self) -> list[int]:
        return [count for _, count, _ in self.sets()]


def write_audio_data(recipe: AudioDataRecipe, report: Callable[[str], None] = lambda name: None) -> None:
    """Draw and encode both sets; an interrupted run is continued. ``report`` is told the set's name for every clip."""
    codec, encoder = load_audio_codec(recipe.codec), load_feature_encoder(recipe.features)
    for name, count, held in recipe.sets():
        with AudioShardWriter(recipe.out / name) as writer:
            for clip in audio_clips(count, recipe.seed, held):
                if clip.name not in writer.done:
                    writer.add(_encoded(clip, codec, encoder))
                report(name)


def _encoded(clip: AudioClip, codec: AudioCodec, encoder: FeatureEncoder) -> AudioItem:
    features = encoder.frames(clip.frames, clip.fps, SECONDS)
    text, mask = encoder.text([clip.caption])
    mean, std = codec.posterior(clip.waveform)
    return AudioItem(
        name=clip.name,
        caption=clip.caption,
        seconds=SECONDS,
        mean=mean[0],
        std=std[0],
        visual=features.visual[0],
        sync=features.sync[0],
        text=text[0][mask[0]],
    )
