"""Audio of the mini world: shapes that bounce off the edge or collide, and flashes of light.

A bounce or a collision sounds like a bell, wood or a drum: the material that the caption names, or that of the shape's
color. The shape determines the pitch, the speed the loudness, and a moving shape makes a soft rolling noise.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..shapes.audio_rates import SAMPLE_RATE
from .draw import paint
from .world import DIRECTIONS, FPS, SIDE, Scene, random_scene

SECONDS = 4.0  # duration of a clip
BOUNCE, COLLISION, FLASH = "bounce", "collision", "flash"
BELL, WOOD, DRUM = "bell", "wood", "drum"
MATERIALS = (BELL, WOOD, DRUM)
# Material by color.
MATERIAL_OF = {
    "yellow": BELL,
    "white": BELL,
    "cyan": BELL,
    "red": WOOD,
    "green": WOOD,
    "blue": DRUM,
    "purple": DRUM,
}
PITCH_OF = {"square": 262.0, "circle": 370.0, "triangle": 523.0, "star": 740.0}  # hertz, by shape
SLOWEST_AUDIO, FASTEST_AUDIO = 0.4, 5.0  # pixels per frame at 8 fps
QUIET_ENDS = 0.15  # seconds without events at both ends of a clip
FLASH_GAP = 0.3  # smallest distance in seconds between a flash and any other event
_FLASH_LIGHT, _FLASH_FADE = 130.0, 0.15  # added brightness of 255, time constant in seconds
_SMALL = 7.0  # radius in pixels of shapes that collide
_ROLL = 0.003  # amplitude of the rolling noise at the highest speed
_ROLL_TAPS = 33  # samples of the low-pass window of the rolling noise


@dataclass(frozen=True)
class Event:
    """An audible event.

    Args:
        time: seconds from the start of the clip.
        kind: ``bounce``, ``collision`` or ``flash``.
        loudness: peak amplitude, 0 to 1.
    """

    time: float
    kind: str
    loudness: float


@dataclass(frozen=True)
class AudioScene:
    """A clip of 4 seconds with audio.

    Args:
        visual: the shape and its background, direction and speed. Its ``along`` and its own path are not used.
        start: pixels that the shape has already traveled along its path at time 0.
        pair: whether there are two equal shapes on mirrored paths, which collide in the middle.
        flashes: times in seconds.
        material: sound of bounces and collisions.
        names_material: whether the caption names the material; otherwise it is that of the color.
        seed: random seed of the noise.
    """

    visual: Scene
    start: float
    pair: bool
    flashes: tuple[float, ...]
    material: str
    names_material: bool
    seed: int

    @property
    def reach(self) -> tuple[float, float]:
        """Smallest and largest offset of the shape's center from the middle of the frame along its path, in pixels."""
        visual = self.visual
        return (visual.radius, visual.room) if self.pair else (-visual.room, visual.room)

    @property
    def pixels_per_second(self) -> float:
        """Speed in pixels per second."""
        return self.visual.speed * FPS

    def center(self, time: float) -> tuple[float, float]:
        """Center (x, y) of the first shape in pixels at a time in seconds."""
        low, high = self.reach
        length = high - low
        traveled = (self.start + self.pixels_per_second * time) % (2 * length)
        offset = low + (traveled if traveled <= length else 2 * length - traveled)
        step_x, step_y = DIRECTIONS[self.visual.direction]
        aside = self.visual.across * self.visual.room
        return SIDE / 2 + step_x * offset + abs(step_y) * aside, SIDE / 2 + step_y * offset + abs(step_x) * aside

    def second_center(self, time: float) -> tuple[float, float]:
        """Center (x, y) of the second shape of a pair in pixels at a time in seconds."""
        x, y = self.center(time)
        step_x, step_y = DIRECTIONS[self.visual.direction]
        return (SIDE - x if step_x else x), (SIDE - y if step_y else y)


def random_audio_scene(rng: random.Random, *, held_out: bool = False) -> AudioScene:
    """A random scene of a training combination, or with ``held_out`` of a held-out one."""
    while True:
        scene = _candidate(rng, held_out)
        times = [event.time for event in events(scene)]
        if all(QUIET_ENDS < time < SECONDS - QUIET_ENDS for time in times) and _flashes_alone(scene, times):
            return scene


def _candidate(rng: random.Random, held_out: bool) -> AudioScene:
    base = random_scene(rng, held_out=held_out, outline_share=0.0)
    pair = rng.random() < 0.25
    visual = Scene(
        base.color,
        base.shape,
        base.background,
        base.direction,
        speed=rng.uniform(SLOWEST_AUDIO, FASTEST_AUDIO),
        radius=_SMALL if pair else base.radius,
        across=base.across,
    )
    names_material = rng.random() < 0.6
    length = visual.room - visual.radius if pair else 2 * visual.room
    return AudioScene(
        visual,
        start=rng.uniform(0, length),
        pair=pair,
        flashes=tuple(sorted(rng.uniform(0.2, SECONDS - 0.2) for _ in range(rng.choice((0, 0, 0, 1, 1, 2))))),
        material=rng.choice(MATERIALS) if names_material else MATERIAL_OF[base.color],
        names_material=names_material,
        seed=rng.randrange(2**31),
    )


def _flashes_alone(scene: AudioScene, times: list[float]) -> bool:
    return all(abs(flash - time) > FLASH_GAP for flash in scene.flashes for time in times if time != flash)


def events(scene: AudioScene) -> list[Event]:
    """The audible events of a scene, ordered by time."""
    low, high = scene.reach
    loudness = 0.12 + 0.5 * scene.visual.speed / FASTEST_AUDIO
    found = [Event(time, FLASH, 0.3) for time in scene.flashes]
    turn = 1
    while True:
        time = (turn * (high - low) - scene.start) / scene.pixels_per_second
        if time >= SECONDS:
            return sorted(found, key=lambda event: event.time)
        # Every second turn is at the low end, which for a pair is the middle, where the shapes collide.
        found.append(Event(time, COLLISION if scene.pair and turn % 2 == 0 else BOUNCE, loudness))
        turn += 1


def draw_audio_scene(scene: AudioScene, fps: float) -> torch.Tensor:
    """The frames (n, 64, 64, 3) float32 in 0..1 of a scene; frame k shows time k / fps."""
    times = [frame / fps for frame in range(round(SECONDS * fps))]
    paths = [torch.tensor([scene.center(time) for time in times])]
    if scene.pair:
        paths.append(torch.tensor([scene.second_center(time) for time in times]))
    light = torch.zeros(len(times))
    for flash in scene.flashes:
        since = torch.tensor(times) - flash
        light += torch.where(since >= 0, _FLASH_LIGHT * torch.exp(-since / _FLASH_FADE), 0.0)
    return paint(scene.visual, paths, light)


def synthesize(scene: AudioScene) -> torch.Tensor:
    """The waveform of a scene: (64000,) float32 in -1..1 at 16 kHz."""
    generator = torch.Generator().manual_seed(scene.seed)
    total = round(SECONDS * SAMPLE_RATE)
    noise = torch.randn(total, generator=generator)
    window = torch.hann_window(_ROLL_TAPS)
    rolling = F.conv1d(noise.view(1, 1, -1), (window / window.norm()).view(1, 1, -1), padding=_ROLL_TAPS // 2)
    waveform = rolling.flatten() * _ROLL * scene.visual.speed / FASTEST_AUDIO
    for event in events(scene):
        first = round(event.time * SAMPLE_RATE)
        sound = _event_sound(scene, event, generator)[: total - first]
        waveform[first : first + len(sound)] += sound
    return waveform.clamp(-1, 1)


def _event_sound(scene: AudioScene, event: Event, generator: torch.Generator) -> torch.Tensor:
    if event.kind == FLASH:
        return event.loudness * _zap()
    pitch = PITCH_OF[scene.visual.shape] * (1.5 if event.kind == COLLISION else 1.0)
    return event.loudness * tone(scene.material, pitch, generator)


def tone(material: str, pitch: float, generator: torch.Generator) -> torch.Tensor:
    """One impact on a material at a pitch in hertz: waveform (n,) at 16 kHz with a peak of about 1.

    Args:
        material: ``bell``, ``wood`` or ``drum``.
        pitch: fundamental frequency in hertz.
        generator: source of the noise.
    """
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
        # The pitch falls from twice to half the given one.
        phase = 2 * math.pi * pitch * (0.5 * time + 1.5 * 0.03 * (1 - torch.exp(-time / 0.03)))
        wave = 0.8 * torch.sin(phase) * torch.exp(-time / 0.12) + 0.25 * noise * torch.exp(-time / 0.02)
    fade_out = (1 - time / seconds).clamp(0, 0.1) * 10
    return wave * fade_out


def _decaying(time: torch.Tensor, hertz: float, fade: float) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * time) * torch.exp(-time / fade)


def _zap() -> torch.Tensor:
    """A tone that falls from 3500 to 700 hertz in 0.25 s."""
    time = torch.arange(round(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * math.pi * (700 * time + 2800 * 0.06 * (1 - torch.exp(-time / 0.06)))
    return torch.sin(phase) * torch.exp(-time / 0.08) * (1 - time / 0.25)
