"""A small video autoencoder with the released VAE's interface: 4 frames and 8 x 8 pixels to a latent pixel.

Every latent frame stands for its own four video frames, read and written as twelve channels of one picture, and all
convolutions run at 1/4 and 1/8 of the resolution. So a clip can be coded frame by frame on a CPU.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..shapes.latents import VAE_FRAMES, VAE_SPACE
from .codec import SCALE

_UNSHUFFLE = 4
"""Pixels per side of the first (and last) convolution's pixel; the rest of VAE_SPACE is a step within the network."""
_COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class CompactVAEConfig:
    """Sizes of the network.

    Args:
        latent_channels: channels of the latents.
        wide: channels at 1/8 of the resolution.
        narrow: channels at 1/4 of the resolution.
        depth: residual blocks at each resolution, in the encoder and in the decoder.
    """

    latent_channels: int = 8
    wide: int = 128
    narrow: int = 64
    depth: int = 2

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class CompactVAE(nn.Module):
    """``encoder`` and ``decoder`` are called as the halves of diffusers' CogVideoX VAE are, and count frames alike."""

    def __init__(self, config: CompactVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = CompactEncoder(config)
        self.decoder = CompactDecoder(config)


class CompactEncoder(nn.Module):
    """Frames to the posterior of the latents."""

    def __init__(self, config: CompactVAEConfig):
        super().__init__()
        self.read = nn.Conv2d(_COLOURS * VAE_FRAMES * _UNSHUFFLE**2, config.narrow, 3, padding=1)
        self.narrow = nn.Sequential(*(_Residual(config.narrow) for _ in range(config.depth)))
        self.down = nn.Conv2d(4 * config.narrow, config.wide, 3, padding=1)
        self.wide = nn.Sequential(*(_Residual(config.wide) for _ in range(config.depth)))
        self.write = nn.Conv2d(config.wide, 2 * config.latent_channels, 3, padding=1)
        self.range = LatentRange(config.latent_channels)

    def forward(self, x: torch.Tensor, conv_cache: None = None) -> tuple[torch.Tensor, None]:
        """Frames (B, 3, f, H, W) in -1..1 to mean and log variance (B, 2C, n, H/8, W/8).

        An odd frame more than a multiple of four is the first latent frame alone, as in the CogVideoX VAE. The second
        value takes the place of that one's cache; latent frames do not depend on one another here.
        """
        if x.shape[2] % VAE_FRAMES:
            x = torch.cat([x[:, :, :1].expand(-1, -1, VAE_FRAMES - 1, -1, -1), x], dim=2)
        pictures = _split(x)
        hidden = self.narrow(self.read(F.pixel_unshuffle(pictures, _UNSHUFFLE)))
        hidden = self.wide(self.down(F.pixel_unshuffle(hidden, VAE_SPACE // _UNSHUFFLE)))
        return self.range.shrink(_join(self.write(hidden), x.shape[0])), None


class CompactDecoder(nn.Module):
    """Latents to frames."""

    def __init__(self, config: CompactVAEConfig):
        super().__init__()
        self.range = LatentRange(config.latent_channels)
        self.read = nn.Conv2d(config.latent_channels, config.wide, 3, padding=1)
        self.wide = nn.Sequential(*(_Residual(config.wide) for _ in range(config.depth)))
        self.up = nn.Conv2d(config.wide, 4 * config.narrow, 3, padding=1)
        self.narrow = nn.Sequential(*(_Residual(config.narrow) for _ in range(config.depth)))
        self.write = nn.Conv2d(config.narrow, _COLOURS * VAE_FRAMES * _UNSHUFFLE**2, 3, padding=1)

    def forward(self, z: torch.Tensor, conv_cache: None = None) -> tuple[torch.Tensor, None]:
        """Latents (B, C, n, h, w) to frames (B, 3, f, 8h, 8w) in -1..1; an odd n gives 4n - 3 frames, an even one 4n.

        The second value takes the place of the CogVideoX VAE's cache.
        """
        batch, _, count = z.shape[:3]
        pictures = self.range.restore(z).transpose(1, 2).flatten(0, 1)
        hidden = self.up(self.wide(self.read(pictures)))
        hidden = self.narrow(F.pixel_shuffle(hidden, VAE_SPACE // _UNSHUFFLE))
        pictures = F.pixel_shuffle(self.write(hidden), _UNSHUFFLE)
        frames = pictures.unflatten(1, (_COLOURS, VAE_FRAMES)).unflatten(0, (batch, count))
        frames = frames.permute(0, 2, 1, 3, 4, 5).flatten(2, 3)
        return frames[:, :, VAE_FRAMES - 1 :] if count % 2 else frames, None


class LatentRange(nn.Module):
    """Mean and spread of each channel, taken out of the latents that are handed on and put back before decoding.

    What is handed on has, times the released VAE's scale, a mean of 0 and a deviation of 1 over the training clips.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.full((channels,), 1 / SCALE))

    def shrink(self, posterior: torch.Tensor) -> torch.Tensor:
        """Mean and log variance (B, 2C, n, h, w) of raw latents to those of handed on ones."""
        mean, log_variance = posterior.chunk(2, dim=1)
        spread = _per_channel(self.spread) * SCALE
        return torch.cat([(mean - _per_channel(self.mean)) / spread, log_variance - 2 * spread.log()], dim=1)

    def restore(self, z: torch.Tensor) -> torch.Tensor:
        """Handed on latents to raw ones."""
        return z * (_per_channel(self.spread) * SCALE) + _per_channel(self.mean)


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


def _per_channel(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def _split(x: torch.Tensor) -> torch.Tensor:
    """(B, 3, 4n, H, W) to (B * n, 12, H, W)."""
    return x.unflatten(2, (-1, VAE_FRAMES)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _join(pictures: torch.Tensor, batch: int) -> torch.Tensor:
    """(B * n, C, h, w) to (B, C, n, h, w)."""
    return pictures.unflatten(0, (batch, -1)).transpose(1, 2)
