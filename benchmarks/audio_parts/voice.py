"""A sound folder in memory, unseen clips of the mini world, and sounds made for them in batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
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
from lumina_core.pipelines.audio import AudioFiles, LuminaAudioPipeline, decode
from lumina_core.pipelines.bundle import find_bundle
from lumina_core.sampling.audio import AudioPlan, sample_audio
from lumina_core.sampling.noise import seeded_noise

RATES = (8.0, 25.0)
"""Frames a second of the clips, in turns: the mini video model's own rate, and a camera's."""
BATCH = 10
"""Clips sampled together; more gain no time on a CPU and cost memory."""


@dataclass(frozen=True)
class Clip:
    """What is shown, how it is asked for, and at how many frames a second."""

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
    def sound(self) -> torch.Tensor:
        """The true one: (1, N) at 16 kHz."""
        return synthesise(self.scene)[None]

    def frames(self) -> torch.Tensor:
        """(n, 64, 64, 3) in 0..1."""
        return draw_audio_scene(self.scene, self.fps)


@dataclass(frozen=True)
class Voice:
    """A sound model with what it needs, and the plan that it is sampled with."""

    folder: Path
    model: AudioNextDiT
    encoder: FeatureEncoder
    codec: AudioCodec
    plan: AudioPlan

    def sounds(
        self,
        clips: list[Clip],
        seeds: Iterable[int] | None = None,
        report: Callable[[int], None] = lambda done: None,
    ) -> list[torch.Tensor]:
        """A sound (1, N) for every clip, in order; clip i starts from noise i, or that of seed i of ``seeds``."""
        numbers = list(range(len(clips)) if seeds is None else seeds)
        made: list[torch.Tensor] = []
        for start in range(0, len(clips), BATCH):
            made += self._batch(clips[start : start + BATCH], numbers[start : start + BATCH])
            report(len(made))
        return made

    def through_codec(self, sound: torch.Tensor) -> torch.Tensor:
        """A sound (1, N) to latents and back: the best that a model of these latents can do."""
        return self.codec.to_waveform(self.codec.encode(sound), sound.shape[1])

    def _batch(self, clips: list[Clip], seeds: list[int]) -> list[torch.Tensor]:
        seen = [self.encoder.frames(clip.frames(), clip.fps, SECONDS) for clip in clips]
        text, mask = self.encoder.text([clip.caption for clip in clips])
        condition = AudioCondition.of(
            torch.cat([features.visual for features in seen]),
            torch.cat([features.sync for features in seen]),
            text,
            mask,
        )
        config = self.model.config
        shape = (1, config.channels, config.rows(SECONDS), config.bins)
        device = torch.device("cpu")
        noise = torch.cat([seeded_noise(shape, seed, device, torch.float32) for seed in seeds])
        latents = sample_audio(self.model, noise, self.plan, condition)
        return list(decode(self.codec, latents, SECONDS).split(1))


def load_voice(folder: Path | None, plan: AudioPlan) -> Voice:
    """The parts of a sound folder, or of the mini bundle's; float32 on the CPU. Raises LuminaError."""
    if folder is None:
        folder = find_bundle("mini").sound
    if folder is None:
        raise LuminaError("The mini bundle has no voice; give a sound folder with --sound.")
    files = AudioFiles.of(folder)
    LuminaAudioPipeline(files)  # checks them
    model, encoder = load_audio_model(files.model), load_feature_encoder(files.features)
    return Voice(folder, model, encoder, load_audio_codec(files.codec), plan)


def unseen_clips(count: int, seed: int = 0) -> list[Clip]:
    """Clips of combinations that no training clip shows, each with at least one event; rates and languages in turns."""
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
    """The same pictures with another sound asked for."""
    return replace(clip, scene=replace(clip.scene, material=material, asked=True), caption=caption)
