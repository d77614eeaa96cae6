"""The network of the CogVideoX VAE, in diffusers' key names; see `vae_blocks` for how it saves memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .vae_blocks import CausalConv, Downsample, Norm, Pass, Resnet, SpatialNorm, Upsample, with_room

_COLOURS = 3
_MIDDLE = 2
_TIME_LEVELS = 2
"""Levels that change the number of frames: together by a factor of 4."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXVAEConfig:
    """Sizes of the network, the released ones unless given.

    Args:
        latent_channels: channels of the latents.
        block_out_channels: channels of the four levels, the one of whole pictures first.
        layers_per_block: residual blocks of a level in the encoder; the decoder has one more.
        norm_num_groups: groups of every normalisation.
    """

    latent_channels: int = 16
    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    layers_per_block: int = 3
    norm_num_groups: int = 32


class CogVideoXVAE(nn.Module):
    """``encoder`` and ``decoder``, for inference alone: they work in place."""

    def __init__(self, config: CogVideoXVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


class Encoder(nn.Module):
    """Frames to the posterior of the latents."""

    def __init__(self, config: CogVideoXVAEConfig) -> None:
        super().__init__()
        sizes, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = CausalConv(_COLOURS, sizes[0])
        self.down_blocks = nn.ModuleList(
            _Level(
                [Resnet(sizes[max(level - 1, 0)] if number == 0 else size, size, groups, None)
                 for number in range(config.layers_per_block)],
                down=Downsample(size, level < _TIME_LEVELS) if level < len(sizes) - 1 else None,
            )
            for level, size in enumerate(sizes)
        )  # fmt: skip
        self.mid_block = _Level([Resnet(sizes[-1], sizes[-1], groups, None) for _ in range(_MIDDLE)])
        self.norm_out = Norm(sizes[-1], groups)
        self.conv_out = CausalConv(sizes[-1], 2 * config.latent_channels)

    @torch.no_grad()
    def forward(self, x: torch.Tensor, conv_cache: dict | None = None) -> tuple[torch.Tensor, dict]:
        """Frames (B, 3, f, H, W) in -1..1 to mean and log variance (B, 2C, n, H/8, W/8).

        conv_cache: what the call for the frames before gave as its second value; it is used up.
        """
        run = Pass(None, past={} if conv_cache is None else conv_cache)
        run.x = self.conv_in(with_room(x), run)
        for level in (*self.down_blocks, self.mid_block):
            level(run)
        return _finish(self.norm_out, self.conv_out, run), run.past


class Decoder(nn.Module):
    """Latents to frames."""

    def __init__(self, config: CogVideoXVAEConfig) -> None:
        super().__init__()
        sizes, groups, latent = config.block_out_channels[::-1], config.norm_num_groups, config.latent_channels
        self.conv_in = CausalConv(latent, sizes[0])
        self.mid_block = _Level([Resnet(sizes[0], sizes[0], groups, latent) for _ in range(_MIDDLE)])
        self.up_blocks = nn.ModuleList(
            _Level(
                [Resnet(sizes[max(level - 1, 0)] if number == 0 else size, size, groups, latent)
                 for number in range(config.layers_per_block + 1)],
                up=Upsample(size, level < _TIME_LEVELS) if level < len(sizes) - 1 else None,
            )
            for level, size in enumerate(sizes)
        )  # fmt: skip
        self.norm_out = SpatialNorm(sizes[-1], latent, groups)
        self.conv_out = CausalConv(sizes[-1], _COLOURS)

    @torch.no_grad()
    def forward(self, z: torch.Tensor, conv_cache: dict | None = None) -> tuple[torch.Tensor, dict]:
        """Latents (B, C, n, h, w) to frames (B, 3, f, 8h, 8w) in -1..1; an odd n gives 4n - 3 frames, an even one 4n.

        conv_cache: what the call for the latents before gave as its second value; it is used up.
        """
        run = Pass(None, latents=z, past={} if conv_cache is None else conv_cache)
        run.x = self.conv_in(with_room(z), run)
        for level in (self.mid_block, *self.up_blocks):
            level(run)
        return _finish(self.norm_out, self.conv_out, run), run.past


class _Level(nn.Module):
    def __init__(self, resnets: list[Resnet], down: Downsample | None = None, up: Upsample | None = None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.downsamplers = nn.ModuleList([down]) if down else None
        self.upsamplers = nn.ModuleList([up]) if up else None

    def forward(self, run: Pass) -> None:
        for step in (*self.resnets, *(self.downsamplers or ()), *(self.upsamplers or ())):
            step(run)


def _finish(norm: nn.Module, conv: CausalConv, run: Pass) -> torch.Tensor:
    room = norm(run)
    run.x = None
    return conv(room, run)
