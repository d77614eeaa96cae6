"""Converts between pixel, latent and token sizes of a clip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import LuminaError
from .schedules import PatchSize

# Latent channels of the released models' VAE (CogVideoX-2b); those of a network are ``VideoConfig.channels``.
LATENT_CHANNELS = 16
# Video frames per latent frame, and pixels per latent pixel along each side (CogVideoX VAE).
VAE_FRAMES = 4
VAE_SPACE = 8
# Video frames that the VAE encodes and decodes at a time.
FRAME_BATCH = 8
# Side in latent pixels of the coarsest patch of the released models, 2x4; multiples of it fit every patch size.
COARSEST_SIDE = 4
# Four times the 64 x 128 x 128 positions of the released models. A larger clip is a typing mistake.
MAX_LATENT_TOKENS = 2**22


@dataclass(frozen=True)
class LatentSize:
    """Frames, height and width of a latent video (B, channels, frames, height, width).

    Args:
        frames: latent frames; 1 is an image.
        height: in latent pixels.
        width: in latent pixels.

    Examples:
        >>> size = LatentSize(24, 88, 156)
        >>> size.tokens(PatchSize.parse("1x2")), size.tokens(PatchSize.parse("2x4"))
        (82368, 10296)
    """

    frames: int
    height: int
    width: int

    def shape(self, channels: int) -> tuple[int, int, int, int]:
        """Tensor shape of one sample: (channels, frames, height, width)."""
        return channels, self.frames, self.height, self.width

    @property
    def pixel_frames(self) -> int:
        """Frames that the VAE decodes: 4 per latent frame, and 3 fewer in all for an odd number of latent frames."""
        return self.frames * VAE_FRAMES - (VAE_FRAMES - 1) * (self.frames % 2)

    @property
    def in_pixels(self) -> str:
        """Text for messages, such as ``1248x704 with 96 frames``."""
        return f"{self.width * VAE_SPACE}x{self.height * VAE_SPACE} with {self.pixel_frames} frames"

    def grid(self, patch: PatchSize) -> tuple[int, int, int]:
        """Tokens along frames, height and width. An image (1 frame) fills one temporal patch."""
        frames = 1 if self.frames == 1 else self.frames // patch.frames
        return frames, self.height // patch.space, self.width // patch.space

    def tokens(self, patch: PatchSize) -> int:
        """Number of tokens at a patch size."""
        frames, height, width = self.grid(patch)
        return frames * height * width

    def check(self, patch: PatchSize) -> None:
        """Raise LuminaError unless ``patch`` divides this size into at most ``MAX_LATENT_TOKENS`` tokens."""
        self._check_division(patch)
        self._check_tokens(patch)

    def check_all(self, patches: Iterable[PatchSize]) -> None:
        """``check`` for every patch size of a schedule. The fix that a message names satisfies all of them."""
        rising = sorted(patches, key=lambda p: (p.space, p.frames))
        # The coarsest patch size needs the largest multiple, the finest one the smallest clip.
        for patch in reversed(rising):
            self._check_division(patch)
        for patch in rising:
            self._check_tokens(patch)

    def _check_division(self, patch: PatchSize) -> None:
        if self.frames > 1 and self.frames % patch.frames:
            step = VAE_FRAMES * patch.frames
            raise LuminaError(
                f"frames is {self.frames * VAE_FRAMES} ({self.frames} latent frames), which patch size {patch} does "
                f"not divide; use a multiple of {step}, or 1 for an image.",
                field="frames",
                kind="value",
            )
        step = VAE_SPACE * patch.space
        for name, latent in (("width", self.width), ("height", self.height)):
            if latent % patch.space:
                pixels = latent * VAE_SPACE
                raise LuminaError(
                    f"{name} is {pixels}, which patch size {patch} does not divide; use a multiple of {step}, "
                    f"such as {nearest_multiple(pixels, step)}.",
                    field=name,
                    kind="value",
                )

    def _check_tokens(self, patch: PatchSize) -> None:
        if self.tokens(patch) > MAX_LATENT_TOKENS:
            raise LuminaError(
                f"The clip is {self.in_pixels}, which is {self.tokens(patch)} tokens at patch size {patch}, and at "
                f"most {MAX_LATENT_TOKENS} are supported; use fewer frames, a smaller size or a coarser patch size.",
                field="size",
                kind="value",
            )


@dataclass(frozen=True)
class VideoSize:
    """Size of a clip as the user states it.

    Args:
        width: in pixels.
        height: in pixels.
        frames: video frames; 1 is an image.

    Examples:
        >>> VideoSize(width=1248, height=704, frames=96).latent()
        LatentSize(frames=24, height=88, width=156)
    """

    width: int
    height: int
    frames: int

    def latent(self) -> LatentSize:
        """The latent size. Raises LuminaError for a size that the VAE cannot encode."""
        for name, pixels in (("width", self.width), ("height", self.height)):
            if pixels < 1 or pixels % VAE_SPACE:
                raise LuminaError(
                    f"{name} is {pixels}; use a multiple of {2 * VAE_SPACE} ({4 * VAE_SPACE} when the patch schedule "
                    f"uses spatial patch size 4), such as {nearest_multiple(pixels, 2 * VAE_SPACE)}.",
                    field=name,
                    kind="value",
                )
        if self.frames != 1 and (self.frames < 1 or self.frames % VAE_FRAMES):
            raise LuminaError(
                f"frames is {self.frames}; use 1 for an image or a multiple of {VAE_FRAMES}, "
                f"such as {nearest_multiple(self.frames, VAE_FRAMES)}.",
                field="frames",
                kind="value",
            )
        return LatentSize(max(1, self.frames // VAE_FRAMES), self.height // VAE_SPACE, self.width // VAE_SPACE)


def nearest_multiple(value: float, step: int) -> int:
    """The multiple of ``step``, at least one step, that is nearest to ``value``."""
    return max(step, round(value / step) * step)
