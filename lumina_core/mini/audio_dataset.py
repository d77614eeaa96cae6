"""Clips of the mini world with audio, as encoded data sets for training the mini audio model."""

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
from .audio_world import SECONDS, AudioScene, draw_audio_scene, random_audio_scene, synthesize
from .captions import LANGUAGES

# Frame rates of the clips; that of the mini video model is twice as likely.
RATES = (8.0, 8.0, 12.0, 16.0, 24.0, 25.0)
CLIPS = "clips"  # name of the training set


@dataclass(frozen=True)
class SceneClip:
    """One clip. Frames and waveform are computed on first access, so that a resumed run skips finished clips quickly.

    Args:
        name: unique name in the data set.
        scene: what it shows.
        caption: its text.
        fps: frames per second.
    """

    name: str
    scene: AudioScene
    caption: str
    fps: float

    @cached_property
    def frames(self) -> torch.Tensor:
        """Frames (n, 64, 64, 3) in 0..1."""
        return draw_audio_scene(self.scene, self.fps)

    @cached_property
    def waveform(self) -> torch.Tensor:
        """Waveform (1, 64000) at 16 kHz."""
        return synthesize(self.scene)[None]


def audio_clips(count: int, seed: int, held_out: bool = False) -> Iterator[SceneClip]:
    """Random clips, each determined by its index and the seed; with ``held_out``, of held-out combinations only."""
    for number in range(count):
        rng = random.Random(f"{seed}/sound/{held_out}/{number}")
        scene = random_audio_scene(rng, held_out=held_out)
        caption = audio_caption(scene, rng, rng.choice(LANGUAGES))
        yield SceneClip(f"sound-{number:06d}", scene, caption, rng.choice(RATES))


@dataclass(frozen=True, kw_only=True)
class AudioDataRecipe:
    """Encoded data sets of drawn clips with audio: ``clips``, and ``clips-held`` of held-out combinations.

    Args:
        out: folder of the data sets.
        features: folder of the encoders.
        codec: folder of the audio codec.
        clips: number of training clips.
        held_out: number of held-out clips.
        seed: random seed.
    """

    out: Path
    features: Path
    codec: Path
    clips: int
    held_out: int
    seed: int = 0

    def sets(self) -> list[tuple[str, int, bool]]:
        """Name, number of clips, and whether they are held out, for each data set."""
        return [(CLIPS, self.clips, False), (f"{CLIPS}-held", self.held_out, True)]

    def counts(self) -> list[int]:
        """Number of clips of each data set."""
        return [count for _, count, _ in self.sets()]


def write_audio_data(recipe: AudioDataRecipe, report: Callable[[str], None] = lambda name: None) -> None:
    """Draw and encode both data sets; an interrupted run resumes.

    Args:
        recipe: folders and sizes.
        report: called with the name of the data set after each clip.
    """
    codec, encoder = load_audio_codec(recipe.codec), load_feature_encoder(recipe.features)
    for name, count, held_out in recipe.sets():
        with AudioShardWriter(recipe.out / name) as writer:
            for clip in audio_clips(count, recipe.seed, held_out):
                if clip.name not in writer.done:
                    writer.add(_encoded(clip, codec, encoder))
                report(name)


def _encoded(clip: SceneClip, codec: AudioCodec, encoder: FeatureEncoder) -> AudioItem:
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
