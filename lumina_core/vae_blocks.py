"""Layers of the CogVideoX VAE, for inference: the arithmetic of diffusers' AutoencoderKLCogVideoX in less memory.

Three things keep it small. A layer's result is freed as soon as the next one has read it: it lives in a ``Pass`` and in
no caller. Normalising, modulating and the activation write straight into the input of the convolution that follows.
And what would be the same for several frames is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

PAST = 2
"""Frames before the present ones that a convolution sees."""
_EPS = 1e-6
_PARTS = 8
"""Parts of the channels that are normalised one after another, where there are many numbers."""
_MANY = 2**22
_CONV_NUMBERS = 2**29
"""Numbers that one convolution reads at most; larger ones go over time in parts."""
_PICTURE_NUMBERS = 2**28
"""The same for pictures, which are enlarged or made smaller."""


@dataclass
class Pass:
    """One batch of frames on its way: its present state (B, C, f, H, W), the latents that modulate it (B, c, n, h, w),
    and the last frames of the batch before, by the convolution that wants them; they are replaced as they are used."""

    x: torch.Tensor | None
    latents: torch.Tensor | None = None
    past: dict[nn.Module, torch.Tensor] = field(default_factory=dict)


class CausalConv(nn.Module):
    """3x3x3 over a frame and the two before it; before the first batch stands its first frame, twice."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out, 3, padding=(0, 1, 1))

    def forward(self, frames: torch.Tensor, run: Pass) -> torch.Tensor:
        """frames: (B, C, PAST + f, H, W) with anything in the first two, see ``with_room``; gives (B, out, f, H, W)."""
        frames[:, :, :PAST] = run.past.pop(self) if self in run.past else frames[:, :, PAST : PAST + 1]
        run.past[self] = frames[:, :, -PAST:].clone()
        return convolve(self.conv, frames)


class PointConv(nn.Module):
    """1x1x1; within a module of its own, as the files have it."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class SpatialNorm(nn.Module):
    """Group norm whose scale and shift are read off the latents, and SiLU."""

    def __init__(self, channels: int, latent_channels: int, groups: int) -> None:
        super().__init__()
        self.norm_layer = nn.GroupNorm(groups, channels, eps=_EPS)
        self.conv_y = PointConv(latent_channels, channels)
        self.conv_b = PointConv(latent_channels, channels)

    def forward(self, run: Pass) -> torch.Tensor:
        """A convolution's input with room, of the state; the state stays."""
        # Before they are enlarged: a 64th of the work of the official order, and the same numbers.
        scale, shift = self.conv_y(run.latents), self.conv_b(run.latents)
        return activated(self.norm_layer, run.x, lambda part, of: _modulate(part, scale[:, of], shift[:, of]))


class Norm(nn.GroupNorm):
    """Group norm and SiLU."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(groups, channels, eps=_EPS)

    def forward(self, run: Pass) -> torch.Tensor:
        """A convolution's input with room, of the state; the state stays."""
        return activated(self, run.x)


class Resnet(nn.Module):
    """Two convolutions beside a straight way; modulated where ``latent_channels`` is given."""

    def __init__(self, channels: int, out: int, groups: int, latent_channels: int | None) -> None:
        super().__init__()
        norm = (lambda size: SpatialNorm(size, latent_channels, groups)) if latent_channels else (
            lambda size: Norm(size, groups)
        )  # fmt: skip
        self.norm1 = norm(channels)
        self.norm2 = norm(out)
        self.conv1 = CausalConv(channels, out)
        self.conv2 = CausalConv(out, out)
        self.conv_shortcut = nn.Conv3d(channels, out, 1) if channels != out else None

    def forward(self, run: Pass) -> None:
        straight = run.x if self.conv_shortcut is None else convolve(self.conv_shortcut, run.x)
        room = self.norm1(run)
        run.x = None
        run.x = self.conv1(room, run)
        del room
        room = self.norm2(run)
        run.x = None
        run.x = straight.add_(self.conv2(room, run))


class Upsample(nn.Module):
    """Twice the height and width, and with ``time`` twice the frames, but for the first of an odd count."""

    def __init__(self, channels: int, time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = time

    def forward(self, run: Pass) -> None:
        x = run.x
        count, height, width = x.shape[2:]
        single = count % 2 if self.time else count
        out = x.new_empty(*x.shape[:2], single + 2 * (count - single), 2 * height, 2 * width)
        stop = 0
        for part in _runs(count, 4 * x[:, :, 0].numel()):
            large = self.conv(F.interpolate(_pictures(x[:, :, part.start : part.stop]), scale_factor=2.0))
            for index, picture in zip(part, _frames(large, len(x)).unbind(2), strict=True):
                start, stop = stop, stop + (1 if index < single else 2)
                out[:, :, start:stop] = picture[:, :, None]
        run.x = out


class Downsample(nn.Module):
    """Half the height and width, and with ``time`` half the frames, but for the first of an odd count."""

    def __init__(self, channels: int, time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)
        self.time = time

    def forward(self, run: Pass) -> None:
        x = run.x
        single = x.shape[2] % 2 if self.time else x.shape[2]
        # A frame without a partner is its own: the mean of both is exactly itself.
        pairs = [(frame, frame) for frame in range(single)] + [(a, a + 1) for a in range(single, x.shape[2], 2)]
        out = x.new_empty(*x.shape[:2], len(pairs), x.shape[3] // 2, x.shape[4] // 2)
        for part in _runs(len(pairs), x[:, :, 0].numel()):
            means = [
                (x[:, :, a] + x[:, :, b]).div_(2) if a != b else x[:, :, a] for a, b in pairs[part.start : part.stop]
            ]
            small = self.conv(F.pad(_pictures(torch.stack(means, dim=2)), (0, 1, 0, 1)))
            out[:, :, part.start : part.stop] = _frames(small, len(x))
        run.x = out


def _mean(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first + second).div_(2)


def _runs(count: int, numbers: int) -> list[range]:
    """Pictures of so many numbers, as many together as are no burden. (Few at a time also give other roundings.)"""
    each = max(1, _PICTURE_NUMBERS // numbers)
    return [range(start, min(start + each, count)) for start in range(0, count, each)]


def _pictures(frames: torch.Tensor) -> torch.Tensor:
    """(B, C, f, H, W) to (B * f, C, H, W)."""
    return frames.transpose(1, 2).flatten(0, 1)


def _frames(pictures: torch.Tensor, batch: int) -> torch.Tensor:
    """(B * f, C, H, W) to (B, C, f, H, W)."""
    return pictures.unflatten(0, (batch, -1)).transpose(1, 2)


def with_room(x: torch.Tensor) -> torch.Tensor:
    """A copy of frames (B, C, f, H, W) with room for the past before them."""
    room = _room(x)
    room[:, :, PAST:] = x
    return room


def activated(
    norm: nn.GroupNorm, x: torch.Tensor, change: Callable[[torch.Tensor, slice], None] | None = None
) -> torch.Tensor:
    """SiLU of the group norm of x, with room for the past; ``change(part, channels)`` works on what is between them."""
    room = _room(x)
    parts = math.gcd(norm.num_groups, _PARTS) if x.numel() > _MANY else 1
    size = norm.num_channels // parts
    # Groups do not know of each other, so they need not be in memory together.
    for start in range(0, norm.num_channels, size):
        of = slice(start, start + size)
        part = F.group_norm(x[:, of], norm.num_groups // parts, norm.weight[of], norm.bias[of], norm.eps)
        if change:
            change(part, of)
        room[:, of, PAST:] = F.silu(part, inplace=True)
    return room


def _room(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(*x.shape[:2], PAST + x.shape[2], *x.shape[3:])


def _modulate(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> None:
    """Frames (B, C, f, H, W) times scale plus shift, both (B, C, n, h, w), in place."""
    single = x.shape[2] % 2  # an odd count is one frame alone, and an even number of others
    each = (x.shape[2] - single) // max(scale.shape[2] - single, 1)
    stop = 0
    for index in range(scale.shape[2]):
        start, stop = stop, stop + (1 if index < single else each)
        part = x[:, :, start:stop]
        part.mul_(_enlarged(scale[:, :, index], x)).add_(_enlarged(shift[:, :, index], x))


def _enlarged(picture: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    return F.interpolate(picture, size=frames.shape[-2:])[:, :, None]


def convolve(conv: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """``conv(x)``, over time in parts where it is large. Convolutions here have no stride and no padding in time."""
    extra = conv.kernel_size[0] - 1
    count = x.shape[2] - extra
    each = max(1, _CONV_NUMBERS * x.shape[2] // x.numel() - extra)
    if each >= count:
        return conv(x)
    each = math.ceil(count / math.ceil(count / each))
    out = x.new_empty(x.shape[0], conv.out_channels, count, *x.shape[3:])
    for start in range(0, count, each):
        stop = min(start + each, count)
        out[:, :, start:stop] = conv(x[:, :, start : stop + extra])
    return out
