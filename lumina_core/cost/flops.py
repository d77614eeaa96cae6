"""What a plan costs, in FLOPs (a multiply-add is 2), before anything is loaded.

Counted: matrix products. Norms, activations and the sampler's own arithmetic are left out; they are far below 1 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

import torch

from ..network.config import VideoConfig
from ..network.context_drop import dropped_layers, pooled_grid
from ..network.embeddings import FREQUENCIES
from ..sampling.plan import Evaluation, SamplingPlan
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize

REFERENCE = PatchSize(1, 2)
"""The patch size that shares are relative to: the finest of the released models."""


@dataclass(frozen=True)
class TextTokens:
    """Tokens of the prompt and of the negative prompt, system prompt included; they matter for tiny sizes only."""

    positive: int = 200
    negative: int = 28


TYPICAL_TEXT = TextTokens()


@dataclass(frozen=True)
class ForwardCost:
    """FLOPs of one network pass over one item.

    Args:
        tokens: tokens of the item.
        self_attention: both products of every self-attention.
        projections: queries, keys, values and outputs of every attention.
        feed_forward: the three layers of every feed-forward.
        text_attention: both products of every cross-attention to the text.
        text_projections: keys and values of the text in every block.
        rest: patches in and out, time, motion and text embedders, modulations.
    """

    tokens: int
    self_attention: int
    projections: int
    feed_forward: int
    text_attention: int
    text_projections: int
    rest: int

    @property
    def total(self) -> int:
        return (
            self.self_attention
            + self.projections
            + self.feed_forward
            + self.text_attention
            + self.text_projections
            + self.rest
        )


def forward_cost(
    config: VideoConfig, size: LatentSize, patch: PatchSize, text_tokens: int, dropping: int = 0
) -> ForwardCost:
    """FLOPs of one pass over a clip of ``size`` at ``patch`` with ``text_tokens`` tokens that count.

    ``dropping`` layers read pooled keys (see ``context_drop``).
    """
    tokens = size.tokens(patch)
    keys = (config.layers - dropping) * tokens + dropping * prod(pooled_grid(size.grid(patch)))
    dim, layers, cond = config.dim, config.layers, config.cond_dim
    kv_dim = config.kv_heads * config.block.head_dim
    numbers = patch.frames * patch.space**2 * config.channels
    modulations = 4 * dim * layers + dim
    embedders = 2 * (2 * FREQUENCIES + cond) + config.text_dim
    return ForwardCost(
        tokens=tokens,
        self_attention=4 * tokens * keys * dim,
        projections=4 * tokens * dim * (dim + kv_dim) * layers,
        feed_forward=6 * tokens * dim * config.ffn_hidden * layers,
        text_attention=4 * tokens * text_tokens * dim * layers,
        text_projections=4 * text_tokens * config.text_dim * kv_dim * layers,
        rest=4 * tokens * numbers * dim + 2 * cond * (modulations + embedders),
    )


@dataclass(frozen=True)
class Segment:
    """Successive steps of one patch size that are all guided or all not.

    A step belongs where its first evaluation does; FLOPs and passes follow every evaluation of it.

    Args:
        t_start, t_end: flow time from the first step's start to the last step's end.
        first_step, last_step: counted from 1, both included.
        evaluations: velocities asked for, solver stages counted.
        passes: network passes per item; a guided evaluation takes two.
        tokens: tokens of one item.
        flops, share: FLOPs, and their part of the whole plan's, 0 to 1.
    """

    patch: PatchSize
    guided: bool
    t_start: float
    t_end: float
    first_step: int
    last_step: int
    evaluations: int
    passes: int
    tokens: int
    flops: int
    share: float

    @property
    def steps(self) -> int:
        return self.last_step - self.first_step + 1


@dataclass(frozen=True)
class PlanCost:
    """The whole plan: its segments, FLOPs, and FLOPs ``relative`` to ``1x2`` throughout with the same guidance."""

    segments: tuple[Segment, ...]
    flops: int
    relative: float

    @property
    def nfe(self) -> int:
        """Evaluations of the velocity."""
        return sum(segment.evaluations for segment in self.segments)

    @property
    def passes(self) -> int:
        """Network passes per item."""
        return sum(segment.passes for segment in self.segments)


Price = Callable[[Evaluation, PatchSize], int]
"""FLOPs of an evaluation if it ran at this patch size."""


def price_list(config: VideoConfig, size: LatentSize, text: TextTokens = TYPICAL_TEXT) -> Price:
    """A function from an evaluation and a patch size to FLOPs, negative pass included when guided."""

    def price(evaluation: Evaluation, patch: PatchSize) -> int:
        dropping = dropped_layers(evaluation.t, evaluation.context_drop, config.layers)
        flops = forward_cost(config, size, patch, text.positive, dropping).total
        return flops + forward_cost(config, size, patch, text.negative, dropping).total * evaluation.guided

    return price


def reference_cost(price: Price, evaluations: Iterable[Evaluation]) -> int:
    """FLOPs of the same evaluations at ``REFERENCE``, each token with its own keys."""
    return sum(price(replace(e, context_drop=0.0), REFERENCE) for e in evaluations)


def plan_cost(
    plan: SamplingPlan,
    size: LatentSize,
    config: VideoConfig,
    text: TextTokens = TYPICAL_TEXT,
    dtype: torch.dtype = torch.float32,
) -> PlanCost:
    """FLOPs of one clip of ``size``. ``dtype`` is the run's: a coarse one rounds t, which may move a switch.

    ``size`` and patch sizes are taken as they are; check them with ``VideoConfig.check_size`` first.

    Examples:
        >>> from lumina_core.sampling.presets import PRESETS
        >>> cost = plan_cost(PRESETS["f24F96R960-MultiScale"], LatentSize(24, 88, 156), VideoConfig())
        >>> round(cost.relative, 3), cost.passes
        (0.282, 129)
    """
    price = price_list(config, size, text)
    evaluations = list(plan.evaluations(dtype))
    total = sum(price(e, e.patch) for e in evaluations)
    reference = reference_cost(price, evaluations)
    return PlanCost(tuple(_segments(plan, size, evaluations, price, total)), total, total / reference)


def step_costs(
    plan: SamplingPlan, size: LatentSize, config: VideoConfig, dtype: torch.dtype = torch.float32
) -> list[int]:
    """FLOPs of every step, for a progress bar that runs evenly."""
    price = price_list(config, size)
    return [sum(price(e, e.patch) for e in step) for step in _by_step(plan.evaluations(dtype))]


def _by_step(evaluations) -> list[list[Evaluation]]:
    return [list(group) for _, group in groupby(evaluations, key=lambda e: e.step)]


def _segments(plan, size, evaluations, price: Price, total: int):
    grid = plan.grid().tolist()
    for (patch, guided), group in groupby(_by_step(evaluations), key=lambda step: (step[0].patch, step[0].guided)):
        steps = list(group)
        run = [evaluation for step in steps for evaluation in step]
        flops = sum(price(e, e.patch) for e in run)
        yield Segment(
            patch=patch,
            guided=guided,
            t_start=grid[run[0].step],
            t_end=grid[run[-1].step + 1],
            first_step=run[0].step + 1,
            last_step=run[-1].step + 1,
            evaluations=len(run),
            passes=sum(e.passes for e in run),
            tokens=size.tokens(patch),
            flops=flops,
            share=flops / total,
        )
