"""Multi-scale Next-DiT: one backbone, one pair of in and out layers per patch size (paper section 3.2)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from ..errors import LuminaError
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize
from .attention import Attention
from .block import FinalLayer, NextDiTBlock
from .config import VideoConfig
from .context_drop import KeyPool, dropping, pooled_rotation
from .embeddings import ScalarEmbedder, TextEmbedder, masked_mean
from .extrapolation import proportional_scale, video_scaling
from .forward_options import AS_TRAINED, NetworkOptions
from .ops import TORCH_OPS, Ops
from .patchify import patchify, unpatchify
from .rope import Rotation, rotation
from .text_cache import RunContext

APART_ON_CPU = 1024
"""Tokens from which a processor takes the items of a batch one after another: in the same time, the peak of memory is
one item's. Fewer tokens take little memory, and 5 to 7 % less time together."""


class MultiScaleNextDiT(nn.Module):
    """Velocity of a latent video. Parameter names are those of the released checkpoints.

    Weights are whatever the layer classes make of them (checkpoints are loaded strict; training initialises itself).
    """

    def __init__(self, config: VideoConfig, ops: Ops = TORCH_OPS, device=None, dtype=None):
        super().__init__()
        self.config, self.ops = config, ops
        where = {"device": device, "dtype": dtype}
        self.all_x_embedder = nn.ModuleDict()
        self.all_final_layer = nn.ModuleDict()
        for patch in config.patches:
            numbers = patch.frames * patch.space**2 * config.channels
            self.all_x_embedder[patch.key] = ops.linear(numbers, config.dim, **where)
            self.all_final_layer[patch.key] = FinalLayer(config.dim, config.cond_dim, numbers, ops, **where)
        self.t_embedder = ScalarEmbedder(config.cond_dim, ops, **where)
        self.motion_embedder = ScalarEmbedder(config.cond_dim, ops, **where)
        self.cap_embedder = TextEmbedder(config.text_dim, config.cond_dim, ops, **where)
        self.layers = nn.ModuleList(NextDiTBlock(config.block, ops, **where) for _ in range(config.layers))
        # Never used by the network, but part of every released checkpoint, which is loaded strict.
        self.pad_token = nn.Parameter(torch.zeros(config.dim, **where))

    def forward(
        self,
        x: torch.Tensor | list[torch.Tensor],
        t: torch.Tensor,
        text: torch.Tensor | RunContext,
        text_mask: torch.Tensor | None,
        motion: torch.Tensor,
        patch: PatchSize,
        options: NetworkOptions = AS_TRAINED,
    ) -> torch.Tensor | list[torch.Tensor]:
        """Velocity (data - noise) at flow time t.

        Args:
            x: latents (B, C, F, H, W), or a list of B latents (C, F, H, W) of unequal size.
            t: (B,), 0 noise to 1 data.
            text: text features (B, S, text_dim), or what ``run_context`` made of them (then the mask is not read).
            text_mask: bool (B, S), True where a token counts, any pattern but at least one per row; None when all do.
            motion: motion scores (B,); negative gives no motion embedding. Not written to.
            patch: one of ``config.patches``.
            options: changes of the pass that need no other weights.

        Returns:
            Like x.

        Raises:
            LuminaError: a patch size that the checkpoint lacks or that does not divide x, too many tokens, text of the
                wrong width, options that need a trained size that nobody said.
        """
        self.config.check_patch(patch)
        if not isinstance(text, RunContext):
            self.config.check_text_width(text.shape[-1])
            text = RunContext(text, text_mask, keep=False)
        cond = self.condition(t, text, motion, text.features.dtype)
        if isinstance(x, torch.Tensor):
            return self.velocity(x, text, cond, patch, t, options)
        rows = [slice(i, i + 1) for i in range(len(x))]
        parts = zip(rows, x, strict=True)
        return [self.velocity(item[None], text[i], cond[i], patch, t[i], options)[0] for i, item in parts]

    def run_context(self, text: torch.Tensor, text_mask: torch.Tensor | None) -> RunContext:
        """Text that many calls share; ``forward`` takes it in place of features and mask."""
        self.config.check_text_width(text.shape[-1])
        return RunContext(text, text_mask)

    def on_attention(self, attention: Attention) -> MultiScaleNextDiT:
        """The same network, its weights shared, with another attention."""
        twin = copy.copy(self)
        twin.ops = replace(self.ops, attention=attention)
        return twin

    def check_run(self, x: torch.Tensor, patches: Iterable[PatchSize], texts: Iterable[tuple]) -> None:
        """Raise LuminaError unless latents x (B, C, F, H, W), every patch size and every (features, mask) fit."""
        if x.shape[1] != self.config.channels:
            raise LuminaError(
                f"The latents have {x.shape[1]} channels; this checkpoint expects {self.config.channels}."
            )
        self.config.check_size(LatentSize(*x.shape[2:]), patches)
        for features, _ in texts:
            self.config.check_text_width(features.shape[-1])

    def condition(
        self, t: torch.Tensor, text: RunContext, motion: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        """Time, pooled text and motion score, added: (B, 1, A) float32. ``dtype`` is the run's."""
        time = self.t_embedder(t * self.config.t_scale, dtype)
        score = motion * self.config.motion_scale
        moved = self.motion_embedder(score.clamp(min=0), dtype)
        # No motion embedding is a zero vector, which is not the embedding of score 0.
        moved = moved.masked_fill((score < 0)[:, None], 0)
        pooled = text.pooled(lambda features, mask: self.cap_embedder(masked_mean(features, mask), dtype))
        return (time + pooled + moved)[:, None, :]

    def velocity(
        self,
        x: torch.Tensor,
        text: RunContext,
        cond: torch.Tensor,
        patch: PatchSize,
        t: torch.Tensor,
        options: NetworkOptions = AS_TRAINED,
        **attention_options,
    ) -> torch.Tensor:
        """``forward`` behind its checks, for latents of one size and ``condition``'s vector of the times ``t``.

        ``attention_options`` go to the attention callable of ``ops``.
        """
        size = LatentSize(*x.shape[2:])
        size.check(patch)
        grid = size.grid(patch)
        scalings = video_scaling(self.config, size, patch, options, t)
        where = (grid, self.config.rope_axes, self.config.rope_theta, x.device, scalings)
        drops = dropping(t, options.context_drop, len(self.layers))
        rope, pool = text.rotation((where, any(drops)), lambda: self._positions(where, any(drops)))
        key_scale = proportional_scale(self.config, size, patch, options)
        attend = partial(self.ops.attention, **attention_options) if attention_options else self.ops.attention

        def run(items: slice) -> torch.Tensor:
            turns = rope if rope.ndim == 2 else rope[items]
            words, pooled = text[items], pool and pool.of(items)
            tokens = self.read(x[items], patch)
            for index, layer in enumerate(self.layers):
                context = words.layer(index, layer.context_keys_values)
                tokens = layer(tokens, turns, context, words.mask, cond[items], attend, key_scale,
                               pooled if index < drops[items.start] else None)  # fmt: skip
            return self.write(tokens, cond[items], patch, size)

        apart = x.device.type == "cpu" and not torch.is_grad_enabled() and size.tokens(patch) >= APART_ON_CPU
        if apart or len(set(drops)) > 1:
            return torch.cat([run(slice(i, i + 1)) for i in range(len(x))])
        return run(slice(0, len(x)))

    def _positions(self, where: tuple, pools: bool) -> tuple[Rotation, KeyPool | None]:
        """The rotary table of ``rotation``'s arguments, and what Context Drop needs of them."""
        return self.turns(rotation(*where)), KeyPool(where[0], self.turns(pooled_rotation(*where))) if pools else None

    def read(self, x: torch.Tensor, patch: PatchSize) -> torch.Tensor:
        """Latents (B, C, F, H, W) -> tokens (B, L, dim)."""
        return self.all_x_embedder[patch.key](patchify(x, patch))

    def write(self, tokens: torch.Tensor, cond: torch.Tensor, patch: PatchSize, size: LatentSize) -> torch.Tensor:
        """Tokens (B, L, dim) -> latents (B, C, F, H, W) of ``size``."""
        tokens = self.all_final_layer[patch.key](tokens, cond)
        return unpatchify(tokens, patch, (size.frames, size.height, size.width))

    def turns(self, rope: Rotation) -> Rotation:
        """The rotary table as the heads were trained to read it: one axis behind the other."""
        return rope

