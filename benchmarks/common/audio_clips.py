"""Unseen clips of the mini world, and audio for them by the pipeline."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lumina_core.audio.codec_loader import load_audio_codec
from lumina_core.mini.audio_captions import audio_caption
from lumina_core.mini.audio_world import AudioScene, Event, draw_audio_scene, events, random_audio_scene, synthesize
from lumina_core.mini.captions import LANGUAGES
from lumina_core.pipelines.audio import LuminaAudioPipeline
from lumina_core.pipelines.audio_inputs import AudioFiles
from lumina_core.sampling.audio import AudioPlan

# Frame rates of the clips, alternating: the mini video model's own, and a camera's.
RATES = (8.0, 25.0)


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
        return synthesize(self.scene)[None]

    def frames(self) -> torch.Tensor:
        """(n, 64, 64, 3) in 0..1."""
        return draw_audio_scene(self.scene, self.fps)


class AudioGenerator:
    """A ``LuminaAudioPipeline`` in float32 on the CPU, and the plan that it is sampled with.

    Args:
        folder: an audio folder; None takes the mini bundle's.
        plan: of every call.

    Raises:
        LuminaError: see ``LuminaAudioPipeline``.
    """

    def __init__(self, folder: Path | None = None, plan: AudioPlan | None = None):
        options = {"device": "cpu", "dtype": "fp32", "keep": "all"}
        if folder is None:
            self.pipe = LuminaAudioPipeline.from_bundle("mini", **options)
        else:
            self.pipe = LuminaAudioPipeline(AudioFiles.of(folder), **options)
        self.plan = plan or AudioPlan()
        self.codec = load_audio_codec(self.pipe.files.codec)

    def generate(self, clips: list[Clip], seeds: Sequence[int] | None = None) -> list[torch.Tensor]:
        """Audio (1, N) for every clip, in order; clip i starts from noise i, or that of seed i of ``seeds``."""
        seeds = range(len(clips)) if seeds is None else seeds
        pairs = zip(clips, seeds, strict=True)
        return [self.generate_for(clip.frames(), clip.fps, clip.caption, seed) for clip, seed in pairs]

    def generate_for(self, frames: torch.Tensor, fps: float, caption: str, seed: int) -> torch.Tensor:
        """Audio (1, N) for frames (n, H, W, 3)."""
        return self.pipe(frames=frames, fps=fps, prompt=caption, plan=self.plan, seed=seed).waveform

    def through_codec(self, wave: torch.Tensor) -> torch.Tensor:
        """Audio (1, N) encoded and decoded: the best that a model of these latents can do."""
        return self.codec.to_waveform(self.codec.encode(wave), wave.shape[1])


def unseen_clips(count: int, seed: int = 0) -> list[Clip]:
    """Clips of combinations that no training clip shows, each with an event; rates and languages alternate."""
    clips: list[Clip] = []
    rng = random.Random(f"sound benchmark {seed}")
    while len(clips) < count:
        scene = random_audio_scene(rng, held_out=True)
        if events(scene):
            number = len(clips)
            language = LANGUAGES[number // len(RATES) % len(LANGUAGES)]
            clips.append(Clip(scene, audio_caption(scene, rng, language), RATES[number % len(RATES)]))
    return clips


def with_material(clip: Clip, material: str, caption: str) -> Clip:
    """The same frames with another material asked for."""
    return replace(clip, scene=replace(clip.scene, material=material, names_material=True), caption=caption)
