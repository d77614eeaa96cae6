"""The network of Lumina-V2A (Video to Audio), on the same Next-DiT block as video (paper appendix D, figure 8).

Letters: B batch, C channels, T latent frames, F mel bins, R token frames (T over the patch's latent frames), N
visual tokens, S sync segments, L text tokens, A conditioning width, D width.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from einops import rearrange
from torch import nn

from ..errors import LuminaError
from ..shapes.audio_rates import LATENT_FRAMES_PER_SLOT, LATENT_RATE, SLOT_STRIDE
from .attention import Attention
from .audio_conditioning import AudioCondition
from .audio_config import AudioConfig
from .block import FinalLayer, NextDiTBlock
from .embeddings import ScalarEmbedder, masked_mean, sinusoid
from .extrapolation import audio_scaling
from .ops import TORCH_OPS, Ops
from .rope import freqs_cis
from .sync_align import ALIGN_MMAUDIO, to_latent_rate

# Units per second of a frame's time before its sinusoids, so that adjacent frames differ in many of them.
_TIME_SCALE = 100.0


class AudioNextDiT(nn.Module):
    """Predicts the velocity of audio latents. Parameter names of the blocks are those of video checkpoints.

    Visual and text tokens are the context of the gated cross-attention. Pooled features, the timestep and the
    high-frame-rate features of Synchformer are the conditioning, one vector per token frame.

    Args:
        config: sizes and options.
        ops: layer classes and functions.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(self, config: AudioConfig, ops: Ops = TORCH_OPS, device=None, dtype=None):
        super().__init__()
        self.config, self.ops = config, ops
        where = {"device": device, "dtype": dtype}
        self.x_embedder = ops.linear(config.patch_elements, config.dim, **where)
        self.t_embedder = ScalarEmbedder(config.cond_dim, ops, **where)
        self.visual_proj = ops.linear(config.visual_dim, config.dim, **where)
        self.text_proj = ops.linear(config.text_dim, config.dim, **where)
        self.cond_mlp = nn.Sequential(
            ops.linear(config.dim, config.cond_dim, **where),
            nn.SiLU(),
            ops.linear(config.cond_dim, config.cond_dim, **where),
        )
        self.sync_proj = ops.linear(config.patch[0] * config.sync_dim, config.cond_dim, **where)
        self.layers = nn.ModuleList(NextDiTBlock(config.block, ops, **where) for _ in range(config.layers))
        self.final_layer = FinalLayer(config.dim, config.cond_dim, config.patch_elements, ops, **where)
        self.null_visual = nn.Parameter(torch.zeros(1, config.visual_dim, **where))
        self.null_sync = nn.Parameter(torch.zeros(1, config.sync_dim, **where))
        # The text encoder's features of an empty prompt; stored, not trained.
        self.null_text = nn.Parameter(torch.zeros(config.text_tokens, config.text_dim, **where), requires_grad=False)
        self.null_text_mask = nn.Parameter(torch.ones(config.text_tokens, **where), requires_grad=False)
        if config.visual_times:
            self.visual_pos_scale = nn.Parameter(torch.zeros(1, **where))
        if config.sync_align == ALIGN_MMAUDIO:
            self.sync_pos_emb = nn.Parameter(torch.zeros(1, 1, 8, config.sync_dim, **where))

    def set_null_text(self, features: torch.Tensor, mask: torch.Tensor) -> None:
        """Store the text encoder's features (text_tokens, text_dim) and mask (text_tokens,) of an empty prompt."""
        with torch.no_grad():
            self.null_text.copy_(features)
            self.null_text_mask.copy_(mask)

    def with_attention(self, attention: Attention) -> AudioNextDiT:
        """A network with the same weights and another attention."""
        twin = copy.copy(self)
        twin.ops = replace(self.ops, attention=attention)
        return twin

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: AudioCondition, **attention_options) -> torch.Tensor:
        """Velocity (data minus noise) at timestep t.

        Args:
            x: latents (B, C, T, F); T is a multiple of the patch's latent frames.
            t: (B,), 0 (noise) to 1 (data).
            condition: of B clips of T / 25 seconds.
            attention_options: further arguments of the attention of ``ops``.

        Returns:
            Like x.

        Raises:
            LuminaError: latents or features of another size, or features of a shorter clip.
        """
        config = self.config
        config.check_latents(tuple(x.shape))
        config.check_features(condition.visual.shape[-1], condition.sync.shape[-1], condition.text.shape[-1])
        self._check_length(x.shape[2], condition.sync.shape[1])
        visual, text, mask, sync = self._streams(condition)
        context, mask = self._context(visual, text, mask)
        cond = self._conditioning(t, context, mask, visual.shape[1], sync, x.shape[2], x.dtype)
        mask = None if bool(mask.all()) else mask
        tokens = self.x_embedder(patchify_audio(x, config.patch))
        grid = (x.shape[2] // config.patch[0], config.bins // config.patch[1])
        half = config.block.head_dim // 2
        freqs = freqs_cis(grid, (half, half), config.rope_theta, x.device, audio_scaling(config, x.shape[2], t))
        ops = self.ops.for_call(x, **attention_options)
        for layer in self.layers:
            tokens = layer(tokens, freqs, context, mask, cond, ops)
        return unpatchify_audio(self.final_layer(tokens, cond, ops), config.patch, x.shape[2])

    def _check_length(self, frames: int, segments: int) -> None:
        """Raise LuminaError if the features end before the audio does; the last token may be covered in part."""
        covered = LATENT_FRAMES_PER_SLOT * (SLOT_STRIDE * segments + SLOT_STRIDE)
        if frames > covered + self.config.patch[0]:
            raise LuminaError(
                f"The audio latents last {frames / LATENT_RATE:g} s ({frames} latent frames), and the video's features "
                f"{covered / LATENT_RATE:g} s ({covered} latent frames); make latents for the length of that video.",
                field="condition",
                kind="mismatch",
            )

    def _streams(self, condition: AudioCondition) -> tuple[torch.Tensor, ...]:
        """Visual features, text features, text mask and sync features, with null features for what is left out."""
        visual, sync, text = condition.visual, condition.sync, condition.text
        no_video, no_text = condition.no_video, condition.no_text
        null_text = _to_length(self.ops.cast(self.null_text, text), text.shape[1])
        null_mask = _to_length(self.ops.cast(self.null_text_mask, text), text.shape[1]) > 0.5
        return (
            torch.where(no_video[:, None, None], self.ops.cast(self.null_visual, visual), visual),
            torch.where(no_text[:, None, None], null_text, text),
            torch.where(no_text[:, None], null_mask, condition.text_mask),
            torch.where(no_video[:, None, None, None], self.ops.cast(self.null_sync, sync), sync),
        )

    def _context(
        self, visual: torch.Tensor, text: torch.Tensor, text_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Visual tokens, then text tokens, (B, N + L, D), and the mask of both (B, N + L)."""
        seen = self.visual_proj(visual)
        if self.config.visual_times:
            times = torch.arange(visual.shape[1], device=visual.device) / self.config.clip_fps
            table = sinusoid(_TIME_SCALE * times, self.config.dim // 2).to(seen)
            seen = seen + self.ops.cast(self.visual_pos_scale, seen) * table
        all_seen = torch.ones(visual.shape[:2], dtype=torch.bool, device=visual.device)
        return torch.cat([seen, self.text_proj(text)], dim=1), torch.cat([all_seen, text_mask], dim=1)

    def _conditioning(
        self,
        t: torch.Tensor,
        context: torch.Tensor,
        mask: torch.Tensor,
        frames: int,
        sync: torch.Tensor,
        length: int,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """Timestep, pooled visual and text tokens, and the sync features of each token frame: (B, R, A) float32.

        Args:
            t, context, mask, sync, dtype: see ``forward``.
            frames: visual tokens, with which the context begins.
            length: latent frames.
        """
        fp32_linear = self.ops.fp32_linear
        pooled = context[:, :frames].mean(dim=1, dtype=torch.float32)
        pooled = pooled + masked_mean(context[:, frames:], mask[:, frames:])
        pooled = fp32_linear(self.cond_mlp[2], self.cond_mlp[1](fp32_linear(self.cond_mlp[0], pooled, dtype)), dtype)
        time = self.t_embedder(t * self.config.t_scale, dtype)
        if self.config.sync_align == ALIGN_MMAUDIO:
            sync = sync + self.ops.cast(self.sync_pos_emb, sync)
        sync = to_latent_rate(sync, length, self.config.sync_align)
        high_rate = fp32_linear(self.sync_proj, sync.unflatten(1, (-1, self.config.patch[0])).flatten(2), dtype)
        return (time + pooled)[:, None, :] + high_rate


def patchify_audio(x: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    """(B, C, T, F) -> (B, T / p * F / q, p * q * C), mel bins fastest; (frame, bin, channel) within a token."""
    return rearrange(x, "b c (t p) (f q) -> b (t f) (p q c)", p=patch[0], q=patch[1])


def unpatchify_audio(tokens: torch.Tensor, patch: tuple[int, int], frames: int) -> torch.Tensor:
    """The inverse of ``patchify_audio``, for latents of ``frames`` latent frames."""
    return rearrange(tokens, "b (t f) (p q c) -> b c (t p) (f q)", t=frames // patch[0], p=patch[0], q=patch[1])


def _to_length(values: torch.Tensor, length: int) -> torch.Tensor:
    """The first ``length`` entries, padded with zeros if there are fewer."""
    if len(values) >= length:
        return values[:length]
    return torch.cat([values, values.new_zeros(length - len(values), *values.shape[1:])])
