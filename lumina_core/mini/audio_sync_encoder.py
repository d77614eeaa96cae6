"""Trains the mini world's sync encoder to detect bounces and flashes, and to estimate speed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ..audio.frame_times import frame_indices
from ..audio.synchformer import SyncConfig, SyncEncoder
from ..audio.synchformer_loader import WEIGHTS, load_sync_encoder, save_sync_encoder
from ..network.sync_align import slots
from ..shapes.audio_rates import SEGMENT, SLOT_SECONDS, STRIDE
from .audio_world import FASTEST_AUDIO, FLASH, SECONDS, AudioScene, draw_audio_scene, events, random_audio_scene
from .optimize import cosine_rate, optimize
from .world import SIDE

SOURCE_RATES = (8, 12, 16, 24, 25)  # fps of the drawn clips; all are resampled to 25
SYNC_FPS = 25
MATCH_SECONDS = 0.1  # largest error of a detected event
_LABEL_SECONDS = 0.05  # standard deviation of the Gaussian label around an event
_OFFSET_REACH = 1.5  # slots around an event whose offset to it is trained
_THRESHOLD = 0.4  # probability of a detected event
_WARMUP = 50  # steps
_MEASURED = 60  # held-out clips


@dataclass(frozen=True, kw_only=True)
class AudioSyncRecipe:
    """Sizes and training of the mini sync encoder.

    Args:
        out: folder to write.
        width, layers, heads: see ``SyncConfig``.
        steps: training steps with AdamW and a cosine decay.
        batch: samples per step.
        segments: consecutive segments of one clip per sample.
        learning_rate: highest learning rate.
        seed: random seed.
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


class _Probes(nn.Module):
    """Linear heads that are discarded after training: hit, flash, offset to the event in slots, speed."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = nn.Linear(width, 4)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (B, slots, 2), offsets and speeds (B, slots) of features (B, slots, width)."""
        outputs = self.heads(features)
        return outputs[..., :2], outputs[..., 2], outputs[..., 3]


def train_audio_sync(
    recipe: AudioSyncRecipe, report: Callable[[int, float], None] = lambda step, loss: None
) -> dict[str, float]:
    """Train and write the encoder.

    Args:
        recipe: sizes and training.
        report: called with step and loss after each step.

    Returns:
        On held-out scenes: F1 of hits and flashes, mean error of their times in seconds, and error of the speed.
    """
    torch.manual_seed(recipe.seed)
    recipe.out.mkdir(parents=True, exist_ok=True)
    config = SyncConfig(
        width=recipe.width, layers=recipe.layers, heads=recipe.heads, mlp=4 * recipe.width, side=SIDE, patch=16
    )
    encoder, probes = _initialized(SyncEncoder(config)), _Probes(recipe.width)
    parameters = [*encoder.parameters(), *probes.parameters()]
    rng = random.Random(recipe.seed)
    optimize(
        parameters,
        lambda: _loss(encoder, probes, recipe, rng),
        recipe.steps,
        recipe.learning_rate,
        cosine_rate(recipe.steps, _WARMUP),
        report,
        weight_decay=0.01,
    )
    save_sync_encoder(encoder, recipe.out / WEIGHTS)
    return _accuracy(load_sync_encoder(recipe.out), probes.eval(), recipe.seed + 1)


def _initialized(encoder: SyncEncoder) -> SyncEncoder:
    for name, value in encoder.named_parameters():
        if "token" in name or name in ("pos_embed", "temp_embed"):
            nn.init.normal_(value, std=0.02)
    return encoder


def _clip(scene: AudioScene, source_rate: int) -> torch.Tensor:
    """The scene at 25 fps, (frames, 3, 64, 64) in -1..1, with the last frame repeated to complete a segment."""
    frames = draw_audio_scene(scene, source_rate)
    shown = frames[frame_indices(len(frames), source_rate, SYNC_FPS, SECONDS)].permute(0, 3, 1, 2) * 2 - 1
    short = -(len(shown) - SEGMENT) % STRIDE
    return torch.cat([shown, shown[-1:].expand(short, -1, -1, -1)])


def _segments(clip: torch.Tensor) -> torch.Tensor:
    """Segments (segments, 3, 16, H, W) of frames (frames, 3, H, W)."""
    return clip.unfold(0, SEGMENT, STRIDE).permute(0, 1, 4, 2, 3)


def _loss(encoder: SyncEncoder, probes: _Probes, recipe: AudioSyncRecipe, rng: random.Random) -> torch.Tensor:
    parts, truths = [], []
    for _ in range(recipe.batch):
        scene = random_audio_scene(rng)
        clip = _clip(scene, rng.choice(SOURCE_RATES))
        length = SEGMENT + STRIDE * (recipe.segments - 1)
        first = rng.randint(0, len(clip) - length)
        parts.append(_segments(clip[first : first + length]))
        truths.append(_truth(scene, first / SYNC_FPS, length // 2))
    logits, offsets, speeds = probes(slots(encoder(torch.stack(parts))))
    is_event, distance, speed = (torch.stack(part) for part in zip(*truths, strict=True))
    near = distance.abs() < _OFFSET_REACH
    offset_loss = F.smooth_l1_loss(offsets[near], distance[near]) if near.any() else offsets.sum() * 0
    # Positive slots are rare, hence the weight.
    event_loss = F.binary_cross_entropy_with_logits(logits, is_event, pos_weight=logits.new_tensor(2.0))
    return 4 * event_loss + 0.5 * offset_loss + 5 * F.smooth_l1_loss(speeds, speed[:, None].expand_as(speeds))


def _truth(scene: AudioScene, start: float, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels of ``count`` slots from ``start`` seconds on.

    Returns soft labels (count, 2) of hit and flash, slots to the nearest event (count,), and the scene's speed as a
    share of the highest.
    """
    centers = start + (torch.arange(count) + 0.5) * SLOT_SECONDS
    hits = [event.time for event in events(scene) if event.kind != FLASH]
    to_hit, to_flash = _to_nearest(centers, hits), _to_nearest(centers, scene.flashes)
    distance = torch.stack([to_hit, to_flash], dim=1)
    nearest = torch.where(to_hit.abs() <= to_flash.abs(), to_hit, to_flash) / SLOT_SECONDS
    return torch.exp(-0.5 * (distance / _LABEL_SECONDS) ** 2), nearest, torch.tensor(scene.visual.speed / FASTEST_AUDIO)


def _to_nearest(centers: torch.Tensor, times: Iterable[float]) -> torch.Tensor:
    """Seconds from the center of each slot to the nearest of the times; a large value if there is none."""
    distance = torch.tensor([*times, 1e3])[None] - centers[:, None]
    return distance.gather(1, distance.abs().argmin(dim=1, keepdim=True))[:, 0]


@torch.no_grad()
def _accuracy(encoder: SyncEncoder, probes: _Probes, seed: int) -> dict[str, float]:
    """Metrics on complete clips of held-out combinations, with the source rates in turn."""
    rng = random.Random(seed)
    counts = {kind: [0, 0, 0] for kind in ("hit", "flash")}
    errors, speed_errors = [], []
    for number in range(_MEASURED):
        scene = random_audio_scene(rng, held_out=True)
        clip = _clip(scene, SOURCE_RATES[number % len(SOURCE_RATES)])
        logits, offsets, speeds = probes(slots(encoder(_segments(clip)[None])))
        speed_errors.append(float((speeds.mean() - scene.visual.speed / FASTEST_AUDIO).abs()))
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


def _peaks(probability: torch.Tensor, offsets: torch.Tensor) -> list[float]:
    """Times in seconds of the local maxima of the event probability (slots,)."""
    padded = F.pad(probability, (1, 1), value=-1.0)
    top = (probability >= _THRESHOLD) & (probability > padded[:-2]) & (probability >= padded[2:])
    centers = (torch.arange(len(probability)) + 0.5 + offsets.clamp(-_OFFSET_REACH, _OFFSET_REACH)) * SLOT_SECONDS
    return centers[top].tolist()


def _matched(found: list[float], truth: list[float]) -> list[float]:
    """Errors in seconds of the matched events; each detection matches at most one."""
    unmatched, errors = list(found), []
    for time in truth:
        nearest = min(unmatched, key=lambda one: abs(one - time), default=math.inf)
        if abs(nearest - time) <= MATCH_SECONDS:
            unmatched.remove(nearest)
            errors.append(abs(nearest - time))
    return errors
