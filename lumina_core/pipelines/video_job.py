"""The arguments of a call of the video pipeline, checked and completed before any weights are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import LuminaError
from ..media.inputs import as_frames, fit_frames
from ..network.config import VideoConfig
from ..network.extrapolation import size_warning, trained_size
from ..sampling.frame_conditioning import HOLD, STRENGTH, given_latents, release_times, strength_to_start
from ..sampling.plan import SamplingPlan
from ..sampling.presets import PRESETS, preset_clip
from ..shapes.frame_rate import check_fps
from ..shapes.latents import FRAME_BATCH, LatentSize, VideoSize
from ..vae.tiling import plan_tiles
from .base import check_count, check_output_type, clip_seeds
from .denoising import check_steps
from .prompts import check_prompts
from .video_output import OUTPUT_TYPES


@dataclass(frozen=True, kw_only=True)
class VideoDefaults:
    """Defaults of a pipeline's calls: preset, size of the clip and frames per second."""

    preset: str
    size: VideoSize
    fps: float


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """The checked arguments of one call, made by ``LuminaVideoPipeline.prepare``.

    Args:
        prompts, negative_prompts, seeds: one for each clip, in order.
        plan: schedules, time grid and solver.
        size, latent: of each clip, in pixels and in latent pixels.
        fps: frames per second.
        start, stop: steps that run, as in ``range``.
        images: frames (N, H, W, 3) in 0..1 that each clip starts with, resized to the clip.
        video: frames (F, H, W, 3) in 0..1 to re-render, resized to the clip.
        hold: see ``sampling.frame_conditioning.release_times``.
        latents: the noise, or the state at step ``start``, (1 or B, C, f, h, w); None draws noise.
        generator: draws the noise in place of the seeds.
        batch_size: clips that are sampled together.
        output_type: pt, np, pil or latent.
        notes: sentences for the user from the checks.
    """

    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    plan: SamplingPlan
    size: VideoSize
    latent: LatentSize
    fps: float
    start: int = 0
    stop: int
    images: torch.Tensor | None = None
    video: torch.Tensor | None = None
    hold: float = HOLD
    latents: torch.Tensor | None = None
    generator: torch.Generator | Sequence[torch.Generator] | None = None
    batch_size: int = 1
    output_type: str = "pt"
    notes: tuple[str, ...] = ()

    @property
    def clips(self) -> int:
        """How many clips the call makes, B."""
        return len(self.prompts)

    @property
    def finished(self) -> bool:
        """Whether the run includes the last step of the plan; otherwise it makes a draft."""
        return self.stop == self.plan.steps


@dataclass(frozen=True, kw_only=True)
class VideoCall:
    """The arguments of a call, as ``LuminaVideoPipeline.__call__`` documents them, except the callbacks."""

    prompt: str | Sequence[str]
    negative_prompt: str | Sequence[str] = ""
    plan: SamplingPlan | str | None = None
    size: VideoSize | tuple[int, int] | None = None
    frames: int | None = None
    fps: float | None = None
    seed: int | Sequence[int] = 0
    generator: torch.Generator | Sequence[torch.Generator] | None = None
    latents: torch.Tensor | None = None
    image: Any = None
    video: Any = None
    strength: float | None = None
    hold: float = HOLD
    start: int = 0
    stop: int | None = None
    videos_per_prompt: int = 1
    batch_size: int = 1
    output_type: str = "pt"


def make_job(config: VideoConfig, defaults: VideoDefaults, vae_tile: int | None, call: VideoCall) -> VideoJob:
    """Check the arguments of a call against the configuration of the network, and complete them.

    Args:
        config: of the network.
        defaults: for what the call does not give.
        vae_tile: side of the VAE's tiles in latent pixels, or None.
        call: the arguments.

    Raises:
        LuminaError: an argument is out of range, or arguments contradict each other.
    """
    prompts, negatives = check_prompts(call.prompt, call.negative_prompt)
    check_count("batch_size", call.batch_size)
    check_output_type(call.output_type, *OUTPUT_TYPES)
    plan, clip = _plan(call.plan, defaults)
    images = None if call.image is None else as_frames(call.image, "image")
    source = None if call.video is None else as_frames(call.video, "video")
    size = _size(call.size, call.frames, source, clip.size)
    latent = _latent(config, plan, size, vae_tile)
    start = call.start if source is None else _video_start(plan, call)
    if source is None and call.strength is not None:
        raise LuminaError(
            "strength is of video-to-video, and there is no video; give video too.", field="strength", kind="value"
        )
    stop = check_steps(plan, start, call.stop, call.latents if source is None else source)
    if images is not None:
        given_latents(len(images), size.frames)
        release_times(1, latent.frames, call.hold)
    seeds = _seeds(call, len(prompts), latent.shape(config.channels))
    per_prompt = len(seeds) // len(prompts)
    notes = (
        _frames_note(size, latent),
        _fitted("image", images, size),
        _fitted("video", source, size),
        size_warning(config, latent, plan.patches, plan.network),
    )
    return VideoJob(
        prompts=tuple(text for text in prompts for _ in range(per_prompt)),
        negative_prompts=tuple(text for text in negatives for _ in range(per_prompt)),
        seeds=seeds,
        plan=plan,
        size=size,
        latent=latent,
        fps=check_fps(clip.fps if call.fps is None else call.fps),
        start=start,
        stop=stop,
        images=None if images is None else fit_frames(images, size.width, size.height),
        video=None if source is None else fit_frames(source, size.width, size.height),
        hold=call.hold,
        latents=call.latents,
        generator=call.generator,
        batch_size=call.batch_size,
        output_type=call.output_type,
        notes=tuple(note for note in notes if note),
    )


def _latent(config: VideoConfig, plan: SamplingPlan, size: VideoSize, vae_tile: int | None) -> LatentSize:
    """The size of the latents, which the VAE's tiles, the patch sizes and the RoPE scaling must fit."""
    latent = size.latent()
    plan_tiles(latent.height, latent.width, vae_tile)
    config.check_size(latent, plan.patches)
    trained_size(config, plan.network)
    return latent


def _seeds(call: VideoCall, prompts: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """One seed for each clip, after checking the latents against their number."""
    latents = call.latents
    states = len(latents) if latents is not None and getattr(latents, "ndim", 0) == 5 else 1
    seeds = clip_seeds(call.seed, prompts, call.videos_per_prompt, "videos_per_prompt", states)
    _check_latents(latents, len(seeds), shape)
    return seeds


def _plan(plan: SamplingPlan | str | None, defaults: VideoDefaults) -> tuple[SamplingPlan, VideoDefaults]:
    """The plan of a call, and the size and frame rate that go with it."""
    if plan is None or isinstance(plan, SamplingPlan):
        return plan or PRESETS[defaults.preset], defaults
    if not isinstance(plan, str) or plan not in PRESETS:
        raise LuminaError(
            f"plan is {plan!r}; give a SamplingPlan, or one of {', '.join(PRESETS)}.", field="plan", kind="value"
        )
    clip = preset_clip(plan)
    return PRESETS[plan], VideoDefaults(preset=plan, size=clip.size, fps=clip.fps)


def _size(
    size: VideoSize | tuple[int, int] | None, frames: int | None, video: torch.Tensor | None, default: VideoSize
) -> VideoSize:
    if isinstance(size, VideoSize):
        if frames not in (None, size.frames):
            raise LuminaError(
                f"size has {size.frames} frames, and frames is {frames}; give only one of them.",
                field="frames",
                kind="value",
            )
        frames = size.frames
        size = (size.width, size.height)
    width, height = (default.width, default.height) if size is None else size
    if video is None:
        return VideoSize(width, height, default.frames if frames is None else frames)
    if frames not in (None, len(video)):
        raise LuminaError(
            f"The video has {len(video)} frames and frames is {frames}; cut the video, or leave frames out.",
            field="frames",
            kind="value",
        )
    if len(video) != 1 and len(video) % FRAME_BATCH:
        raise LuminaError(
            f"The video has {len(video)} frames; cut it to a multiple of {FRAME_BATCH}, such as "
            f"{max(FRAME_BATCH, len(video) // FRAME_BATCH * FRAME_BATCH)}.",
            field="video",
            kind="value",
        )
    return VideoSize(width, height, len(video))


def _video_start(plan: SamplingPlan, call: VideoCall) -> int:
    """The step at which video-to-video starts."""
    clash = next((name for name in ("image", "latents") if getattr(call, name) is not None), None)
    if clash or call.start:
        clash = clash or "start"
        raise LuminaError(
            f"video sets the state that the run starts from, and so does {clash}; give only one of them.",
            field=clash,
            kind="value",
        )
    return strength_to_start(STRENGTH if call.strength is None else call.strength, plan.steps)


def _check_latents(latents: torch.Tensor | None, clips: int, shape: tuple[int, ...]) -> None:
    if latents is None:
        return
    if not isinstance(latents, torch.Tensor) or latents.ndim != 5 or not latents.is_floating_point():
        raise LuminaError(
            "latents is not a float tensor; give one of shape (B, C, frames, height, width).",
            field="latents",
            kind="value",
        )
    if tuple(latents.shape[1:]) != shape or latents.shape[0] not in (1, clips):
        raise LuminaError(
            f"latents has shape {tuple(latents.shape)}; expected (1 or {clips}, {', '.join(map(str, shape))}) for this "
            "size, number of frames and number of clips.",
            field="latents",
            kind="mismatch",
        )


def _frames_note(size: VideoSize, latent: LatentSize) -> str | None:
    if latent.pixel_frames == size.frames:
        return None
    return (
        f"{size.frames} frames are {latent.frames} latent frames, which the VAE decodes to {latent.pixel_frames}; "
        "multiples of 8 give exactly that many frames."
    )


def _fitted(name: str, frames: torch.Tensor | None, size: VideoSize) -> str | None:
    if frames is None or tuple(frames.shape[1:3]) == (size.height, size.width):
        return None
    return (
        f"The {name} is {frames.shape[2]}x{frames.shape[1]} and is cropped and resized to the clip's "
        f"{size.width}x{size.height}."
    )
