"""What the small world sounds like: shapes that meet the picture's edge or each other, and flashes of light.

A bounce or a collision sounds like a bell, wood or a drum: the one that the caption asks for, else the one of its
color. The shape gives the pitch, the speed the loudness, and what moves rolls softly.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..audio.mel import SAMPLE_RATE
from .draw import paint
from .world import DIRECTIONS, FPS, SIDE, Scene, random_scene

SECONDS = 4.0
BOUNCE, COLLISION, FLASH = "bounce", "collision", "flash"
BELL, WOOD, DRUM = "bell", "wood", "drum"
MATERIALS = (BELL, WOOD, DRUM)
MATERIAL_OF = {
    "yellow": BELL,
    "white": BELL,
    "cyan": BELL,
    "red": WOOD,
    "green": WOOD,
    "blue": DRUM,
    "purple": DRUM,
}
PITCH_OF = {"square": 262.0, "circle": 370.0, "triangle": 523.0, "star": 740.0}
"""Hertz."""
SLOWEST_AUDIO, FASTEST_AUDIO = 0.4, 5.0
"""Pixels per frame of 8 a second."""
QUIET_ENDS = 0.15
"""Seconds at both ends of a clip in which nothing happens."""
APART = 0.3
"""Seconds between a flash and any other event."""
_FLASH_LIGHT, _FLASH_FADE = 130.0, 0.15
_SMALL = 7.0
"""Radius of shapes that collide, in pixels."""
_ROLL = 0.003
"""Amplitude of the rolling noise of the fastest shape."""
_ROLL_TAPS = 33
"""Samples of the window that takes the hiss out of it."""


@dataclass(frozen=True)
class Event:
    """Something that is heard. loudness: peak amplitude, 0 to 1."""

    time: float
    kind: str
    loudness: float


@dataclass(frozen=True)
class AudioScene:
    """A clip of 4 seconds with its sound.

    Args:
        look: what moves where; ``along`` and the bounces of its own path are not used.
        start: pixels of the path, which is one way of the shape, that lie behind it at the beginning.
        pair: two equal shapes on mirrored paths, which meet in the middle.
        flashes: times in seconds.
        material: what bounces and collisions sound like.
        asked: whether the caption names the material; else it is the color's.
        seed: of the noise in the sound.
    """

    look: Scene
    start: float
    pair: bool
    flashes: tuple[float, ...]
    material: str
    asked: bool
    seed: int

    @property
    def reach(self) -> tuple[float, float]:
        """Least and largest offset of a shape's centre from the middle of the picture, in pixels."""
        return (self.look.radius, self.look.room) if self.pair else (-self.look.room, self.look.room)

    @property
    def pixels_per_second(self) -> float:
        return self.look.speed * FPS

    def centre(self, time: float) -> tuple[float, float]:
        """Centre (x, y) of the first shape in pixels at a time in seconds."""
        low, high = self.reach
        way = high - low
        travelled = (self.start + self.pixels_per_second * time) % (2 * way)
        offset = low + (travelled if travelled <= way else 2 * way - travelled)
        step_x, step_y = DIRECTIONS[self.look.direction]
        aside = self.look.across * self.look.room
        return SIDE / 2 + step_x * offset + abs(step_y) * aside, SIDE / 2 + step_y * offset + abs(step_x) * aside

    def twin(self, time: float) -> tuple[float, float]:
        """Centre of the second shape of a pair."""
        x, y = self.centre(time)
        step_x, step_y = DIRECTIONS[self.look.direction]
        return (SIDE - x if step_x else x), (SIDE - y if step_y else y)


def random_audio_scene(rng: random.Random, *, held: bool = False) -> AudioScene:
    """A scene of the training combinations, or with ``held`` of the others."""
    while True:
        scene = _draw_lots(rng, held)
        times = [event.time for event in events(scene)]
        if all(QUIET_ENDS < time < SECONDS - QUIET_ENDS for time in times) and _apart(scene, times):
            return scene


def _draw_lots(rng: random.Random, held: bool) -> AudioScene:
    base = random_scene(rng, held=held, outline_share=0.0)
    pair = rng.random() < 0.25
    look = Scene(
        base.color,
        base.shape,
        base.background,
        base.direction,
        speed=rng.uniform(SLOWEST_AUDIO, FASTEST_AUDIO),
        radius=_SMALL if pair else base.radius,
        across=base.across,
    )
    asked = rng.random() < 0.6
    way = look.room - look.radius if pair else 2 * look.room
    return AudioScene(
        look,
        start=rng.uniform(0, way),
        pair=pair,
        flashes=tuple(sorted(rng.uniform(0.2, SECONDS - 0.2) for _ in range(rng.choice((0, 0, 0, 1, 1, 2))))),
        material=rng.choice(MATERIALS) if asked else MATERIAL_OF[base.color],
        asked=asked,
        seed=rng.randrange(2**31),
    )


def _apart(scene: AudioScene, times: list[float]) -> bool:
    return all(abs(flash - time) > APART for flash in scene.flashes for time in times if time != flash)


def events(scene: AudioScene) -> list[Event]:
    """Everything that is heard in a scene, in order of time."""
    low, high = scene.reach
    loudness = 0.12 + 0.5 * scene.look.speed / FASTEST_AUDIO
    found = [Event(time, FLASH, 0.3) for time in scene.flashes]
    turn = 1
    while True:
        time = (turn * (high - low) - scene.start) / scene.pixels_per_second
        if time >= SECONDS:
            return sorted(found, key=lambda event: event.time)
        # Every second turn is at the low end, which for a pair is the middle, where both meet.
        found.append(Event(time, COLLISION if scene.pair and turn % 2 == 0 else BOUNCE, loudness))
        turn += 1


def draw_audio_scene(scene: AudioScene, fps: float) -> torch.Tensor:
    """The clip (frames, 64, 64, 3) float32 in 0..1; frame k shows time k / fps."""
    times = [frame / fps for frame in range(round(SECONDS * fps))]
    paths = [torch.tensor([scene.centre(time) for time in times])]
    if scene.pair:
        paths.append(torch.tensor([scene.twin(time) for time in times]))
    light = torch.zeros(len(times))
    for flash in scene.flashes:
        since = torch.tensor(times) - flash
        light += torch.where(since >= 0, _FLASH_LIGHT * torch.exp(-since / _FLASH_FADE), 0.0)
    return paint(scene.look, paths, light)


def synthesise(scene: AudioScene) -> torch.Tensor:
    """The sound of a scene: (64000,) float32 at 16 kHz, within -1..1."""
    generator = torch.Generator().manual_seed(scene.seed)
    total = round(SECONDS * SAMPLE_RATE)
    noise = torch.randn(total, generator=generator)
    window = torch.hann_window(_ROLL_TAPS)
    rolling = F.conv1d(noise.view(1, 1, -1), (window / window.norm()).view(1, 1, -1), padding=_ROLL_TAPS // 2)
    sound = rolling.flatten() * _ROLL * scene.look.speed / FASTEST_AUDIO
    for event in events(scene):
        first = round(event.time * SAMPLE_RATE)
        tone = _tone(scene, event, generator)[: total - first]
        sound[first : first + len(tone)] += tone
    return sound.clamp(-1, 1)


def _tone(scene: AudioScene, event: Event, generator: torch.Generator) -> torch.Tensor:
    if event.kind == FLASH:
        return event.loudness * _zap()
    pitch = PITCH_OF[scene.look.shape] * (1.5 if event.kind == COLLISION else 1.0)
    return event.loudness * tone(scene.material, pitch, generator)


def tone(material: str, pitch: float, generator: torch.Generator) -> torch.Tensor:
    """One stroke on a material at a pitch in hertz: (n,) with a peak of about 1."""
    seconds = {BELL: 0.9, WOOD: 0.15, DRUM: 0.45}[material]
    time = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = torch.randn(len(time), generator=generator)
    if material == BELL:
        partials = ((2.0, 0.5, 0.35), (4.0, 0.3, 0.25), (5.52, 0.2, 0.18), (8.4, 0.1, 0.1))
        parts = [size * _decaying(time, pitch * ratio, fade) for ratio, size, fade in partials]
        wave = sum(parts)
    elif material == WOOD:
        wave = 0.6 * _decaying(time, 2.5 * pitch, 0.02) + 0.3 * _decaying(time, 6.4 * pitch, 0.01)
        wave = wave + 0.2 * noise * torch.exp(-time / 0.004)
    else:
        # The pitch falls from twice to half the shape's.
        phase = 2 * math.pi * pitch * (0.5 * time + 1.5 * 0.03 * (1 - torch.exp(-time / 0.03)))
        wave = 0.8 * torch.sin(phase) * torch.exp(-time / 0.12) + 0.25 * noise * torch.exp(-time / 0.02)
    fade_out = (1 - time / seconds).clamp(0, 0.1) * 10
    return wave * fade_out


def _decaying(time: torch.Tensor, hertz: float, fade: float) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * time) * torch.exp(-time / fade)


def _zap() -> torch.Tensor:
    """A tone that falls from 3500 to 700 hertz in a quarter of a second."""
    time = torch.arange(round(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * math.pi * (700 * time + 2800 * 0.06 * (1 - torch.exp(-time / 0.06)))
    return torch.sin(phase) * torch.exp(-time / 0.08) * (1 - time / 0.25)
