"""Frame conditioning by latent inpainting: image-to-video and continuation, without extra training.

The network takes no image as a condition. But a known latent frame is known at every noise level: at timestep t it is
``t * known + (1 - t) * noise``. If only the given frames are held to that, they hardly influence the frames after them,
and the clip jumps where they end. So the frames after them are held too, to a still of the last given frame, and
released one after another while the layout forms, the farthest first.

ComfyUI does the same with a noise mask (``KSamplerX0Inpaint`` in comfy/samplers.py); the node
LuminaVideoImageToVideo turns ``release_times`` into that mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import LuminaError
from ..shapes.latents import FRAME_BATCH, VAE_FRAMES
from .step_cache import CachedVelocity

# Release time of a frame that is held for the whole run, as the given ones are.
NEVER = 1.0
# Default of ``hold``.
HOLD = 0.5
# Default of video-to-video's ``strength``.
STRENGTH = 0.5
# Power by which the release times fall along the clip.
_FALL = 2


@dataclass(frozen=True)
class FrameCondition:
    """Known latent frames of a run, and the timestep up to which each is held.

    Args:
        latents: known data (1 or B, C, F, H, W), scaled as the network expects it.
        release_times: F timesteps, 0 to 1. Latent frame i follows the known data while ``t < release_times[i]`` and is
            sampled freely after that. ``NEVER`` holds it to the end, 0 does not hold it.

    Raises:
        LuminaError: the shapes do not fit, or a time is outside 0 to 1.
    """

    latents: torch.Tensor
    release_times: tuple[float, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.latents.shape)
        if len(shape) != 5 or shape[2] != len(self.release_times):
            raise LuminaError(
                f"The known latents have shape {shape} and there are {len(self.release_times)} release times; expected "
                "(1 or B, channels, frames, height, width) and one time for each latent frame.",
                field="condition",
                kind="value",
            )
        if not all(0 <= time <= 1 for time in self.release_times):
            raise LuminaError(
                f"release_times are {self.release_times}; expected timesteps from 0 to 1.",
                field="release_times",
                kind="value",
            )

    def check(self, noise: torch.Tensor) -> None:
        """Raise LuminaError unless the known latents fit a run on ``noise`` (B, C, F, H, W)."""
        known, wanted = tuple(self.latents.shape), tuple(noise.shape)
        if known[0] not in (1, wanted[0]) or known[1:] != wanted[1:]:
            raise LuminaError(
                f"The known latents have shape {known} and the noise has {wanted}; expected the same, or a batch of 1.",
                field="condition",
                kind="mismatch",
            )

    def apply(self, velocity: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """``velocity``, with that of the held frames replaced by the one that leads from the state to the known data.

        Args:
            velocity: of the sampler, (B, C, F, H, W).
            t: timestep of the state, a scalar tensor.
            x: the state, like ``velocity``; its held frames lie on the line from noise to the known data.
        """
        free_from = torch.tensor(self.release_times, device=x.device).view(1, 1, -1, 1, 1)
        held = t < free_from
        if not bool(held.any()):
            return velocity
        # t is below 1 wherever a frame is held.
        to_known = (self.latents.to(x.device, x.dtype) - x) / (1 - t)
        return torch.where(held, to_known, velocity)


class ConditionedVelocity:
    """A velocity for a solver, whose held frames follow a ``FrameCondition``.

    The condition is applied after guidance, renorm and step cache, as ComfyUI applies its noise mask, so that these
    three work on what the network predicted.
    """

    def __init__(self, velocity: CachedVelocity, condition: FrameCondition):
        self.velocity, self.condition = velocity, condition

    @property
    def reused(self) -> bool:
        """Whether the newest velocity came from the step cache."""
        return self.velocity.reused

    def __call__(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.condition.apply(self.velocity(t, x), t, x)


def release_times(given: int, frames: int, hold: float = HOLD) -> tuple[float, ...]:
    """Timestep at which each latent frame is released: ``NEVER`` for the first ``given``, then falling from ``hold``.

    Args:
        given: latent frames that are known, at least 1.
        frames: latent frames of the clip.
        hold: 0 to 1; frames next to the given ones are held up to this t, and those farther away are released earlier.
            0 holds only the given frames.

    Raises:
        LuminaError: ``hold`` is outside 0 to 1.
    """
    if not 0 <= hold <= 1:
        raise LuminaError(f"hold is {hold}; write a timestep from 0 to 1.", field="hold", kind="value")
    end = frames - given + 1
    return (NEVER,) * given + tuple(hold * (1 - distance / end) ** _FALL for distance in range(1, end))


def given_latents(images: int, frames: int) -> int:
    """How many latent frames the given images determine.

    One image determines the first latent frame, as a still of 4 frames.

    Args:
        images: how many images or frames are given: 1, or a multiple of 8.
        frames: frames of the clip, a multiple of 8.

    Raises:
        LuminaError: ``images`` is neither 1 nor a multiple of 8, ``frames`` is no multiple of 8, or no frame is left to
            generate.
    """
    if frames < 1 or frames % FRAME_BATCH:
        raise LuminaError(f"frames is {frames}; use a multiple of {FRAME_BATCH}.", field="frames", kind="value")
    if images != 1 and (images < 1 or images % FRAME_BATCH):
        raise LuminaError(
            f"There are {images} images; give one, or a multiple of {FRAME_BATCH} to continue from, such as the last "
            f"{FRAME_BATCH} frames of a clip.",
            field="image",
            kind="value",
        )
    if images >= frames:
        raise LuminaError(
            f"There are {images} images for a clip of {frames} frames, so no frame is left to generate; raise frames "
            "or give fewer images.",
            field="image",
            kind="value",
        )
    return max(1, images // VAE_FRAMES)


def condition_on_frames(
    encode: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, frames: int, hold: float = HOLD
) -> FrameCondition:
    """The condition of a clip that begins with ``images``: these, then a still of the last one, released step by step.

    Args:
        encode: VAE encoder, (f, H, W, 3) in 0..1 to latents (1, C, n, h, w).
        images: (N, H, W, 3) in 0..1: one image, or 8, 16, ... frames to continue from.
        frames: frames of the clip, the given ones included; a multiple of 8.
        hold: see ``release_times``.

    Raises:
        LuminaError: see ``given_latents`` and ``release_times``; or the encoder does not give video latents.
    """
    given, total = given_latents(len(images), frames), frames // VAE_FRAMES
    times = release_times(given, total, hold)
    still = images[-1:].expand(FRAME_BATCH, -1, -1, -1)
    # All latent frames of a still are equal, so one of them is repeated.
    known = encode((still if len(images) == 1 else torch.cat([images, still]))[..., :3])
    if known.ndim != 5:
        raise LuminaError(
            f"The VAE gave latents of shape {tuple(known.shape)}, expected 5 axes as for a video; use the VAE of "
            "Lumina-Video.",
            field="vae",
            kind="mismatch",
        )
    rest = known[:, :, -1:].expand(-1, -1, total - given, -1, -1)
    return FrameCondition(torch.cat([known[:, :, :given], rest], dim=2), times)


def strength_to_start(strength: float, steps: int) -> int:
    """The step at which video-to-video starts, counted as by ComfyUI's SplitSigmasDenoise and diffusers' ``strength``.

    Args:
        strength: fraction of the steps that run, above 0 and up to 1. 1 starts from pure noise, and low values keep
            most of the clip.
        steps: steps of the plan.

    Raises:
        LuminaError: ``strength`` is outside that range, or so low that no step would run.
    """
    if not 0 < strength <= 1:
        raise LuminaError(
            f"strength is {strength}; write a number above 0 and up to 1.", field="strength", kind="value"
        )
    count = round(steps * strength)
    if count < 1:
        raise LuminaError(
            f"strength is {strength}, so none of the {steps} steps would run; write at least {1 / steps:.2g}.",
            field="strength",
            kind="value",
        )
    return steps - count
