"""Next-DiT, the backbone of the video and image networks (paper section 3.1; Lumina-Next)."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import nn

from ..errors import LuminaError
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize
from .attention import Attention
from .batch_split import BatchSplit, per_sample, whole_batch
from .block import NextDiTBlock
from .config import VideoConfig
from .context_drop import KeyPool, dropped_layers, pooled_freqs_cis
from .embeddings import ScalarEmbedder, TextEmbedder, masked_mean
from .extrapolation import proportional_scale, video_scaling
from .forward_options import AS_TRAINED, NetworkOptions
from .ops import TORCH_OPS, Ops
from .rope import FreqsCis, freqs_cis
from .text_cache import ConditioningCache

# From this number of tokens on, a CPU runs the samples of a batch one after another, which takes the same time with the
# peak memory of one sample. Fewer tokens take little memory, and 5 to 7 % less time in one batch.
CPU_SPLIT_TOKENS = 1024
Network = TypeVar("Network", bound="NextDiT")


class NextDiT(nn.Module, ABC):
    """Predicts the velocity of latents (B, C, F, H, W). Parameter names are those of released checkpoints.

    A subclass creates the layers, in the order of the published parameters, and converts latents to tokens and tokens
    to latents. Weights have the default initialization of the layer classes.

    Args:
        config: sizes.
        ops: layer classes and functions.
    """

    config: VideoConfig
    t_embedder: ScalarEmbedder
    cap_embedder: TextEmbedder
    layers: nn.ModuleList
    pad_token: nn.Parameter

    def __init__(self, config: VideoConfig, ops: Ops = TORCH_OPS):
        super().__init__()
        self.config, self.ops = config, ops

    @abstractmethod
    def patch_embed(self, x: torch.Tensor, patch: PatchSize) -> torch.Tensor:
        """Latents (B, C, F, H, W) -> tokens (B, L, dim)."""

    @abstractmethod
    def unpatch(
        self, tokens: torch.Tensor, cond: torch.Tensor, patch: PatchSize, size: LatentSize, ops: Ops
    ) -> torch.Tensor:
        """Tokens (B, L, dim), conditioning (B, 1, A) -> latents (B, C, F, H, W) of ``size``."""

    @abstractmethod
    def arrange_axes(self, freqs: FreqsCis) -> FreqsCis:
        """The rotary table, whose axes follow one another, in the order that the network was trained with."""

    def condition(
        self, t: torch.Tensor, text: ConditioningCache, motion: torch.Tensor | None, dtype: torch.dtype
    ) -> torch.Tensor:
        """The conditioning (B, 1, A), float32: the sum of the embeddings of t and of the pooled text.

        Args:
            t: timesteps (B,), 0 to 1.
            text: of B samples.
            motion: motion scores (B,), for networks that have them.
            dtype: of the run.
        """
        pooled = text.pooled(lambda features, mask: self.cap_embedder(masked_mean(features, mask), dtype))
        return (self.t_embedder(t * self.config.t_scale, dtype) + pooled)[:, None, :]

    def forward(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        text: torch.Tensor | ConditioningCache,
        text_mask: torch.Tensor | None,
        motion: torch.Tensor | None,
        patch: PatchSize,
        options: NetworkOptions = AS_TRAINED,
    ) -> torch.Tensor:
        """Velocity (data minus noise) at timestep t.

        Args:
            x: latents (B, C, F, H, W).
            t: (B,), 0 (noise) to 1 (data).
            text: text features (B, S, text_dim), or the result of ``cache_text`` (then ``text_mask`` is not used).
            text_mask: bool (B, S), True where a token counts, which is at least one per sample; None when all do.
            motion: motion scores (B,); a negative one gives no motion embedding. None for images.
            patch: one of ``config.patches``.
            options: of the forward pass.

        Returns:
            Like x.

        Raises:
            LuminaError: a patch size that the checkpoint lacks or that does not divide x, too many tokens, text of a
                wrong width, or options that need a trained size that is not known.
        """
        self.config.check_patch(patch)
        if not isinstance(text, ConditioningCache):
            self.config.check_text_width(text.shape[-1])
            text = ConditioningCache(text, text_mask, keep=False)
        return self.split_velocity(x, t, text, motion, patch, options)

    def split_velocity(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        text: ConditioningCache,
        motion: torch.Tensor | None,
        patch: PatchSize,
        options: NetworkOptions = AS_TRAINED,
        **attention_options: Any,
    ) -> torch.Tensor:
        """``velocity`` of any batch, which is split if its samples differ or if that saves memory."""
        unequal = len(set(self._dropped(t, options))) > 1
        many = x.device.type == "cpu" and LatentSize(*x.shape[2:]).tokens(patch) >= CPU_SPLIT_TOKENS
        strategy = per_sample if unequal or (many and not torch.is_grad_enabled()) else whole_batch
        return BatchSplit(self.velocity, strategy)(x, t, text, motion, patch, options, **attention_options)

    def velocity(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        text: ConditioningCache,
        motion: torch.Tensor | None,
        patch: PatchSize,
        options: NetworkOptions = AS_TRAINED,
        **attention_options: Any,
    ) -> torch.Tensor:
        """The network's equation, for samples of equal size with equal numbers of dropped layers.

        Arguments are those of ``forward``, which checks them. ``attention_options`` are further arguments of the
        attention of ``ops``.
        """
        size = LatentSize(*x.shape[2:])
        size.check(patch)
        ops = self.ops.for_call(x, **attention_options)
        dropped = self._dropped(t, options)[0]
        freqs, key_pool = self._positions(x, t, text, patch, options, pools=dropped > 0)
        key_scale = proportional_scale(self.config, size, patch, options)
        cond = self.condition(t, text, motion, x.dtype)
        tokens = self.patch_embed(x, patch)
        for index, layer in enumerate(cast(Iterable[NextDiTBlock], self.layers)):
            context = text.layer(index, layer.context_keys_values)
            pool = key_pool if index < dropped else None
            tokens = layer(tokens, freqs, context, text.mask, cond, ops, key_scale, pool)
        return self.unpatch(tokens, cond, patch, size, ops)

    def _dropped(self, t: torch.Tensor, options: NetworkOptions) -> list[int]:
        """Number of layers with pooled keys for each sample; without Context Drop, one 0 for all samples.

        Reading the values of t synchronizes with a GPU, so only Context Drop does it.
        """
        if not options.context_drop:
            return [0]
        return [dropped_layers(each, options.context_drop, len(self.layers)) for each in t.tolist()]

    def _positions(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        text: ConditioningCache,
        patch: PatchSize,
        options: NetworkOptions,
        pools: bool,
    ) -> tuple[FreqsCis, KeyPool | None]:
        """The rotary table of the tokens, and the pool of Context Drop; cached from step to step."""
        size = LatentSize(*x.shape[2:])
        scalings = video_scaling(self.config, size, patch, options, t)
        grid = (size.grid(patch), self.config.rope_axes, self.config.rope_theta, x.device, scalings)

        def make() -> tuple[FreqsCis, KeyPool | None]:
            freqs = self.arrange_axes(freqs_cis(*grid))
            return freqs, KeyPool(grid[0], self.arrange_axes(pooled_freqs_cis(*grid))) if pools else None

        return text.positions((grid, pools), make)

    def cache_text(self, text: torch.Tensor, text_mask: torch.Tensor | None) -> ConditioningCache:
        """A cache for text features (B, S, text_dim) and their mask that ``forward`` takes in place of both.

        Use it for the calls of one run: keys and values of the text are then computed once. Raises LuminaError for
        features of a wrong width.
        """
        self.config.check_text_width(text.shape[-1])
        return ConditioningCache(text, text_mask)

    def with_attention(self: Network, attention: Attention) -> Network:
        """A network with the same weights and another attention."""
        twin = copy.copy(self)
        twin.ops = replace(self.ops, attention=attention)
        return twin

    def check_run(
        self,
        x: torch.Tensor,
        patches: Iterable[PatchSize],
        texts: Iterable[tuple[torch.Tensor, torch.Tensor | None]],
    ) -> None:
        """Raise LuminaError unless latents x (B, C, F, H, W), every patch size and every (features, mask) fit."""
        if x.shape[1] != self.config.channels:
            raise LuminaError(
                f"The latents have {x.shape[1]} channels; this checkpoint expects {self.config.channels}.",
                field="noise",
                kind="mismatch",
            )
        self.config.check_size(LatentSize(*x.shape[2:]), patches)
        for features, _ in texts:
            self.config.check_text_width(features.shape[-1])

    def make_blocks(self, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.ModuleList:
        """The blocks of ``config``, for the ``layers`` of a subclass."""
        block, ops = self.config.block, self.ops
        return nn.ModuleList(NextDiTBlock(block, ops, device=device, dtype=dtype) for _ in range(self.config.layers))
