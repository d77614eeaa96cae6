"""A small video autoencoder with the interface of the released VAE: 4 frames and 8 x 8 pixels per latent pixel.

Each latent frame encodes its own four video frames as the twelve channels of one image, and all convolutions run at
1/4 and 1/8 of the resolution, so a clip can be encoded frame by frame on a CPU.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..shapes.latents import VAE_FRAMES, VAE_SPACE
from .codec import SCALE

# Pixel unshuffle before the first and after the last convolution; the rest of VAE_SPACE happens inside the network.
_UNSHUFFLE = 4
_COLORS = 3


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
        """The sizes as a plain mapping, as config.json holds them."""
        return asdict(self)


class CompactVAE(nn.Module):
    """``encoder`` and ``decoder`` have the call signatures and frame counts of diffusers' CogVideoX VAE."""

    def __init__(self, config: CompactVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = CompactEncoder(config)
        self.decoder = CompactDecoder(config)


class CompactEncoder(nn.Module):
    """Encodes frames to the posterior of the latents."""

    def __init__(self, config: CompactVAEConfig):
        super().__init__()
        self.read = nn.Conv2d(_COLORS * VAE_FRAMES * _UNSHUFFLE**2, config.narrow, 3, padding=1)
        self.narrow = nn.Sequential(*(_Residual(config.narrow) for _ in range(config.depth)))
        self.down = nn.Conv2d(4 * config.narrow, config.wide, 3, padding=1)
        self.wide = nn.Sequential(*(_Residual(config.wide) for _ in range(config.depth)))
        self.write = nn.Conv2d(config.wide, 2 * config.latent_channels, 3, padding=1)
        self.range = LatentRange(config.latent_channels)

    def forward(self, x: torch.Tensor, conv_cache: None = None) -> tuple[torch.Tensor, None]:
        """Frames (B, 3, f, H, W) in -1..1 to mean and log variance (B, 2C, n, H/8, W/8).

        With 4n + 1 frames the first one becomes a latent frame alone, as in the CogVideoX VAE. The second value stands
        in for the cache of that VAE; latent frames are independent here.
        """
        if x.shape[2] % VAE_FRAMES:
            x = torch.cat([x[:, :, :1].expand(-1, -1, VAE_FRAMES - 1, -1, -1), x], dim=2)
        images = _split(x)
        hidden = self.narrow(self.read(F.pixel_unshuffle(images, _UNSHUFFLE)))
        hidden = self.wide(self.down(F.pixel_unshuffle(hidden, VAE_SPACE // _UNSHUFFLE)))
        return self.range.shrink(_join(self.write(hidden), x.shape[0])), None


class CompactDecoder(nn.Module):
    """Decodes latents to frames."""

    def __init__(self, config: CompactVAEConfig):
        super().__init__()
        self.range = LatentRange(config.latent_channels)
        self.read = nn.Conv2d(config.latent_channels, config.wide, 3, padding=1)
        self.wide = nn.Sequential(*(_Residual(config.wide) for _ in range(config.depth)))
        self.up = nn.Conv2d(config.wide, 4 * config.narrow, 3, padding=1)
        self.narrow = nn.Sequential(*(_Residual(config.narrow) for _ in range(config.depth)))
        self.write = nn.Conv2d(config.narrow, _COLORS * VAE_FRAMES * _UNSHUFFLE**2, 3, padding=1)

    def forward(self, z: torch.Tensor, conv_cache: None = None) -> tuple[torch.Tensor, None]:
        """Latents (B, C, n, h, w) to frames (B, 3, f, 8h, 8w) in -1..1; an odd n gives 4n - 3 frames, an even one 4n.

        The second value stands in for the cache of the CogVideoX VAE.
        """
        batch, _, count = z.shape[:3]
        images = self.range.restore(z).transpose(1, 2).flatten(0, 1)
        hidden = self.up(self.wide(self.read(images)))
        hidden = self.narrow(F.pixel_shuffle(hidden, VAE_SPACE // _UNSHUFFLE))
        images = F.pixel_shuffle(self.write(hidden), _UNSHUFFLE)
        frames = images.unflatten(1, (_COLORS, VAE_FRAMES)).unflatten(0, (batch, count))
        frames = frames.permute(0, 2, 1, 3, 4, 5).flatten(2, 3)
        return frames[:, :, VAE_FRAMES - 1 :] if count % 2 else frames, None


class LatentRange(nn.Module):
    """Normalizes latents per channel after encoding, and restores mean and standard deviation before decoding.

    Times the released VAE's scale, normalized latents have mean 0 and standard deviation 1 over the training clips.
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.full((channels,), 1 / SCALE))

    def shrink(self, posterior: torch.Tensor) -> torch.Tensor:
        """Mean and log variance (B, 2C, n, h, w) of raw latents to those of normalized latents."""
        mean, log_variance = posterior.chunk(2, dim=1)
        spread = _per_channel(self.spread) * SCALE
        return torch.cat([(mean - _per_channel(self.mean)) / spread, log_variance - 2 * spread.log()], dim=1)

    def restore(self, z: torch.Tensor) -> torch.Tensor:
        """Normalized latents to raw latents."""
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


def _join(images: torch.Tensor, batch: int) -> torch.Tensor:
    """(B * n, C, h, w) to (B, C, n, h, w)."""
    return images.unflatten(0, (batch, -1)).transpose(1, 2)
