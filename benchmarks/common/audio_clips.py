"""An audio model in memory, unseen clips of the mini world, and batches of audio for them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lumina_core.audio.codec_loader import AudioCodec, load_audio_codec
from lumina_core.audio.features import FeatureEncoder, load_feature_encoder
from lumina_core.checkpoints.audio import load_audio_model
from lumina_core.errors import LuminaError
from lumina_core.mini.audio_captions import audio_caption
from lumina_core.mini.audio_world import (
    SECONDS,
    AudioScene,
    Event,
    draw_audio_scene,
    events,
    random_audio_scene,
    synthesise,
)
from lumina_core.mini.captions import LANGUAGES
from lumina_core.network.audio import AudioNextDiT
from lumina_core.network.audio_conditioning import AudioCondition
from lumina_core.pipelines.audio import AudioFiles, AudioSettings, decode, prepare_audio
from lumina_core.pipelines.bundle import find_bundle
from lumina_core.sampling.audio import AudioPlan, sample_audio
from lumina_core.sampling.noise import seeded_noise

# Frame rates of the clips, alternating: the mini video model's own, and a camera's.
RATES = (8.0, 25.0)
# Clips sampled together; more save no time on a CPU and cost memory.
BATCH = 10


@dataclass(frozen=True)
class Clip:
    """What is shown, its caption, and the frame rate."""

    scene: AudioScene
    caption: str
    fps: float

    @property
    def events(self) -> list[Event]:
        return events(self.scene)

    @property
    def times(self) -> list[float]:
        """True onsets in seconds."""
        return [event.time for event in self.events]

    @property
    def audio(self) -> torch.Tensor:
        """The reference: (1, N) at 16 kHz."""
        return synthesise(self.scene)[None]

    def frames(self) -> torch.Tensor:
        """(n, 64, 64, 3) in 0..1."""
        return draw_audio_scene(self.scene, self.fps)


@dataclass(frozen=True)
class AudioGenerator:
    """An audio model with its encoder and codec, and the plan that it is sampled with."""

    model: AudioNextDiT
    encoder: FeatureEncoder
    codec: AudioCodec
    plan: AudioPlan

    def generate(self, clips: list[Clip], seeds: Sequence[int] | None = None) -> list[torch.Tensor]:
        """Audio (1, N) for every clip, in order; clip i starts from noise i, or that of seed i of ``seeds``."""
        seeds = range(len(clips)) if seeds is None else seeds
        made: list[torch.Tensor] = []
        for start in range(0, len(clips), BATCH):
            made += self._batch(clips[start : start + BATCH], seeds[start : start + BATCH])
        return made

    def generate_for(self, frames: torch.Tensor, fps: float, caption: str, seconds: float, seed: int) -> torch.Tensor:
        """Audio (1, N) of so many seconds for frames (n, H, W, 3)."""
        features = self.encoder.frames(frames, fps, seconds)
        condition = AudioCondition.of(features.visual, features.sync, *self.encoder.text([caption]))
        return decode(self.codec, sample_audio(self.model, self._noise(seconds, seed), self.plan, condition), seconds)

    def through_codec(self, wave: torch.Tensor) -> torch.Tensor:
        """Audio (1, N) encoded and decoded: the best that a model of these latents can do."""
        return self.codec.to_waveform(self.codec.encode(wave), wave.shape[1])

    def _batch(self, clips: list[Clip], seeds: Sequence[int]) -> list[torch.Tensor]:
        features = [self.encoder.frames(clip.frames(), clip.fps, SECONDS) for clip in clips]
        visual, sync = torch.cat([f.visual for f in features]), torch.cat([f.sync for f in features])
        condition = AudioCondition.of(visual, sync, *self.encoder.text([clip.caption for clip in clips]))
        noise = torch.cat([self._noise(SECONDS, seed) for seed in seeds])
        return list(decode(self.codec, sample_audio(self.model, noise, self.plan, condition), SECONDS).split(1))

    def _noise(self, seconds: float, seed: int) -> torch.Tensor:
        config = self.model.config
        shape = (1, config.channels, config.rows(seconds), config.bins)
        return seeded_noise(shape, seed, torch.device("cpu"), torch.float32)


def load_audio(folder: Path | None, plan: AudioPlan) -> AudioGenerator:
    """The parts of an audio folder, or of the mini bundle's; float32 on the CPU. Raises LuminaError."""
    folder = find_bundle("mini").sound if folder is None else folder
    if folder is None:
        raise LuminaError(
            "The mini bundle has no audio model; give its folder with --audio.", field="audio", kind="missing"
        )
    files = AudioFiles.of(folder)
    prepare_audio(AudioSettings(files=files))
    model, encoder = load_audio_model(files.model), load_feature_encoder(files.features)
    return AudioGenerator(model, encoder, load_audio_codec(files.codec), plan)


def unseen_clips(count: int, seed: int = 0) -> list[Clip]:
    """Clips of combinations that no training clip shows, each with an event; rates and languages alternate."""
    clips: list[Clip] = []
    rng = random.Random(f"sound benchmark {seed}")
    while len(clips) < count:
        scene = random_audio_scene(rng, held=True)
        if events(scene):
            number = len(clips)
            language = LANGUAGES[number // len(RATES) % len(LANGUAGES)]
            clips.append(Clip(scene, audio_caption(scene, rng, language), RATES[number % len(RATES)]))
    return clips


def with_material(clip: Clip, material: str, caption: str) -> Clip:
    """The same frames with another material asked for."""
    return replace(clip, scene=replace(clip.scene, material=material, asked=True), caption=caption)
