"""The mini world's sync encoder: trained to tell when something bounces or flashes, and how fast things move."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ..audio.frame_times import frame_indices
from ..audio.sync_align import SLOT_SECONDS, slots
from ..audio.synchformer import SEGMENT, STRIDE, SyncConfig, SyncEncoder
from ..audio.synchformer_loader import WEIGHTS, load_sync_encoder, save_sync_encoder
from .audio_world import FASTEST_AUDIO, FLASH, SECONDS, AudioScene, draw_audio_scene, events, random_audio_scene
from .world import SIDE

SOURCE_RATES = (8, 12, 16, 24, 25)
"""Frames a second of the drawn clips, all shown at 25."""
SYNC_FPS = 25
NEAR = 0.1
"""Seconds that a found event may be off."""
_SPREAD = 0.05
"""Seconds around an event in which its slots are called one, by a bell curve."""
_OFFSET_REACH = 1.5
"""Slots around an event that also tell how far it is."""
_THRESHOLD = 0.4
_WARMUP = 50
_MEASURED = 60


@dataclass(frozen=True, kw_only=True)
class AudioSyncRecipe:
    """Sizes and training of the mini sync encoder.

    Args:
        out: folder to write.
        width, layers, heads: see ``SyncConfig``.
        steps, batch, segments, learning_rate, seed: of the training, with AdamW and a cosine decay; an item is a run of
            so many segments of one clip.
    """

    out: Path
    width: int = 96
    layers: int = 2
    heads: int = 6
    steps: int = 1800
    batch: int = 8
    segments: int = 4
    learning_rate: float = 1.5e-3
    seed: int = 0


class _Readers(nn.Module):
    """Linear heads, thrown away after the training: hit, flash, offset of the event in slots, speed."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = nn.Linear(width, 4)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, slots, width) to logits (B, slots, 2), offsets and speeds (B, slots)."""
        found = self.heads(features)
        return found[..., :2], found[..., 2], found[..., 3]


def train_audio_sync(
    recipe: AudioSyncRecipe, report: Callable[[int, float], None] = lambda step, loss: None
) -> dict[str, float]:
    """Train and write the encoder; returns the F1 of events found on new scenes, and the error of their times.

    ``report(step, loss)`` is called after each step.
    """
    torch.manual_seed(recipe.seed)
    recipe.out.mkdir(parents=True, exist_ok=True)
    config = SyncConfig(
        width=recipe.width, layers=recipe.layers, heads=recipe.heads, mlp=4 * recipe.width, side=SIDE, patch=16
    )
    encoder, readers = _initialised(SyncEncoder(config)), _Readers(recipe.width)
    parameters = [*encoder.parameters(), *readers.parameters()]
    optimizer = torch.optim.AdamW(parameters, recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    rng = random.Random(recipe.seed)
    for step in range(recipe.steps):
        rate = min((step + 1) / _WARMUP, 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)))
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * rate
        loss = _loss(encoder, readers, recipe, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        report(step, float(loss.detach()))
    save_sync_encoder(encoder, recipe.out / WEIGHTS)
    return _accuracy(load_sync_encoder(recipe.out), readers.eval(), recipe.seed + 1)


def _initialised(encoder: SyncEncoder) -> SyncEncoder:
    for name, value in encoder.named_parameters():
        if "token" in name or name in ("pos_embed", "temp_embed"):
            nn.init.normal_(value, std=0.02)
    return encoder


def _clip(scene: AudioScene, source_rate: int) -> torch.Tensor:
    """The whole scene at 25 frames a second, (frames, 3, 64, 64) in -1..1; the last frame runs on to whole segments."""
    frames = draw_audio_scene(scene, source_rate)
    shown = frames[frame_indices(len(frames), source_rate, SYNC_FPS, SECONDS)].permute(0, 3, 1, 2) * 2 - 1
    short = -(len(shown) - SEGMENT) % STRIDE
    return torch.cat([shown, shown[-1:].expand(short, -1, -1, -1)])


def _segments(clip: torch.Tensor) -> torch.Tensor:
    """(frames, 3, H, W) to (segments, 3, 16, H, W)."""
    return clip.unfold(0, SEGMENT, STRIDE).permute(0, 1, 4, 2, 3)


def _loss(encoder: SyncEncoder, readers: _Readers, recipe: AudioSyncRecipe, rng: random.Random) -> torch.Tensor:
    parts, truths = [], []
    for _ in range(recipe.batch):
        scene = random_audio_scene(rng)
        clip = _clip(scene, rng.choice(SOURCE_RATES))
        length = SEGMENT + STRIDE * (recipe.segments - 1)
        first = rng.randint(0, len(clip) - length)
        parts.append(_segments(clip[first : first + length]))
        truths.append(_truth(scene, first / SYNC_FPS, length // 2))
    logits, offsets, speeds = readers(slots(encoder(torch.stack(parts))))
    is_event, distance, speed = (torch.stack(part) for part in zip(*truths, strict=True))
    near = distance.abs() < _OFFSET_REACH
    away = F.smooth_l1_loss(offsets[near], distance[near]) if near.any() else offsets.sum() * 0
    # Events are rare: few slots are one.
    told = F.binary_cross_entropy_with_logits(logits, is_event, pos_weight=logits.new_tensor(2.0))
    return 4 * told + 0.5 * away + 5 * F.smooth_l1_loss(speeds, speed[:, None].expand_as(speeds))


def _truth(scene: AudioScene, start: float, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the slots from ``start`` seconds on: how much each is a hit and a flash (count, 2), slots to the nearest event
    (count,), and the scene's speed as a share of the fastest.
    """
    centres = start + (torch.arange(count) + 0.5) * SLOT_SECONDS
    found = events(scene)
    hits = [event.time for event in found if event.kind != FLASH]
    to_hit, to_flash = _to_nearest(centres, hits), _to_nearest(centres, scene.flashes)
    away = torch.stack([to_hit, to_flash], dim=1)
    nearest = torch.where(to_hit.abs() <= to_flash.abs(), to_hit, to_flash) / SLOT_SECONDS
    return torch.exp(-0.5 * (away / _SPREAD) ** 2), nearest, torch.tensor(scene.look.speed / FASTEST_AUDIO)


def _to_nearest(centres: torch.Tensor, times) -> torch.Tensor:
    """Seconds from each slot's centre to the nearest of the times; far away where there is none."""
    away = torch.tensor([*times, 1e3])[None] - centres[:, None]
    return away.gather(1, away.abs().argmin(dim=1, keepdim=True))[:, 0]


@torch.no_grad()
def _accuracy(encoder: SyncEncoder, readers: _Readers, seed: int) -> dict[str, float]:
    """On whole clips of combinations that the training never showed, at every rate in turn."""
    rng = random.Random(seed)
    counts = {kind: [0, 0, 0] for kind in ("hit", "flash")}
    errors, speed_errors = [], []
    for number in range(_MEASURED):
        scene = random_audio_scene(rng, held=True)
        clip = _clip(scene, SOURCE_RATES[number % len(SOURCE_RATES)])
        logits, offsets, speeds = readers(slots(encoder(_segments(clip)[None])))
        speed_errors.append(float((speeds.mean() - scene.look.speed / FASTEST_AUDIO).abs()))
        for index, kind in enumerate(counts):
            truth = [event.time for event in events(scene) if (event.kind == FLASH) == (kind == "flash")]
            found = _peaks(logits[0, :, index].sigmoid(), offsets[0])
            matched = _matched(found, truth)
            errors += matched
            counts[kind] = [a + b for a, b in zip(counts[kind], (len(matched), len(found), len(truth)), strict=True)]
    f1 = {f"{kind} f1": 2 * hit / max(found + truth, 1) for kind, (hit, found, truth) in counts.items()}
    return f1 | {
        "time error (s)": sum(errors) / max(len(errors), 1),
        "speed error": sum(speed_errors) / len(speed_errors),
    }


def _peaks(chance: torch.Tensor, offsets: torch.Tensor) -> list[float]:
    """Times in seconds of the slots that are more likely an event than those beside them."""
    beside = F.pad(chance, (1, 1), value=-1.0)
    top = (chance >= _THRESHOLD) & (chance > beside[:-2]) & (chance >= beside[2:])
    centres = (torch.arange(len(chance)) + 0.5 + offsets.clamp(-_OFFSET_REACH, _OFFSET_REACH)) * SLOT_SECONDS
    return centres[top].tolist()


def _matched(found: list[float], truth: list[float]) -> list[float]:
    """The errors in seconds of the events that were found, each once."""
    left, errors = list(found), []
    for time in truth:
        nearest = min(left, key=lambda one: abs(one - time), default=math.inf)
        if abs(nearest - time) <= NEAR:
            left.remove(nearest)
            errors.append(abs(nearest - time))
    return errors
