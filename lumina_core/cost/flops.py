"""Counts the FLOPs of a sampling plan before anything is loaded; a multiply-add is 2.

Matrix products are counted. Norms, activations and the sampler's own arithmetic, far below 1 %, are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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

# Relative costs are relative to this patch size, the finest of the released models.
REFERENCE = PatchSize(1, 2)


@dataclass(frozen=True)
class TextTokens:
    """Lengths of the prompts in tokens, system prompt included. They matter for tiny sizes only.

    Args:
        positive: of the prompt.
        negative: of the negative prompt.
    """

    positive: int = 200
    negative: int = 28


TYPICAL_TEXT = TextTokens()


@dataclass(frozen=True)
class ForwardCost:
    """FLOPs of one forward pass over one sample.

    Args:
        tokens: number of tokens of the sample.
        self_attention: both matrix products of self-attention, in all blocks.
        projections: to queries, keys, values and outputs, in all blocks.
        feed_forward: the three linear layers, in all blocks.
        text_attention: both matrix products of the cross-attention to the text, in all blocks.
        text_projections: of the text to keys and values, in all blocks.
        rest: patch embedding and output layer, timestep, motion and text embedders, modulations.
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
        """FLOPs of all parts."""
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
    """FLOPs of one forward pass over one clip.

    Args:
        config: of the network.
        size: of the latents.
        patch: patch size.
        text_tokens: length of the prompt, without padding.
        dropping: number of layers that read pooled keys and values (see ``context_drop``).
    """
    tokens = size.tokens(patch)
    keys = (config.layers - dropping) * tokens + dropping * prod(pooled_grid(size.grid(patch)))
    dim, layers, cond = config.dim, config.layers, config.cond_dim
    kv_dim = config.kv_heads * config.block.head_dim
    elements = patch.frames * patch.space**2 * config.channels
    modulations = 4 * dim * layers + dim
    embedders = 2 * (2 * FREQUENCIES + cond) + config.text_dim
    return ForwardCost(
        tokens=tokens,
        self_attention=4 * tokens * keys * dim,
        projections=4 * tokens * dim * (dim + kv_dim) * layers,
        feed_forward=6 * tokens * dim * config.ffn_hidden * layers,
        text_attention=4 * tokens * text_tokens * dim * layers,
        text_projections=4 * text_tokens * config.text_dim * kv_dim * layers,
        rest=4 * tokens * elements * dim + 2 * cond * (modulations + embedders),
    )


@dataclass(frozen=True)
class Segment:
    """Consecutive steps with one patch size, all with guidance or all without.

    A step belongs to the segment of its first evaluation. FLOPs and passes include all evaluations of a step.

    Args:
        patch: patch size.
        guided: whether guidance is on.
        t_start: timestep at the start of the first step, 0 to 1.
        t_end: timestep at the end of the last step, 0 to 1.
        first_step: from 1.
        last_step: from 1, included.
        evaluations: of the velocity, solver stages included.
        passes: forward passes per sample; a guided evaluation takes two.
        tokens: of one sample.
        flops: of one clip.
        share: fraction of the FLOPs of the plan, 0 to 1.
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
        """Number of steps."""
        return self.last_step - self.first_step + 1


@dataclass(frozen=True)
class PlanCost:
    """The cost of a plan.

    Args:
        segments: in the order of the steps.
        flops: of one clip.
        relative: FLOPs relative to a constant ``1x2`` schedule with the same guidance.
    """

    segments: tuple[Segment, ...]
    flops: int
    relative: float

    @property
    def nfe(self) -> int:
        """Evaluations of the velocity."""
        return sum(segment.evaluations for segment in self.segments)

    @property
    def passes(self) -> int:
        """Forward passes per sample."""
        return sum(segment.passes for segment in self.segments)


# FLOPs of an evaluation at a patch size.
Price = Callable[[Evaluation, PatchSize], int]


def price_list(config: VideoConfig, size: LatentSize, text: TextTokens = TYPICAL_TEXT) -> Price:
    """A function from an evaluation and a patch size to FLOPs, with the negative pass of a guided evaluation."""

    def price(evaluation: Evaluation, patch: PatchSize) -> int:
        dropping = dropped_layers(evaluation.t, evaluation.context_drop, config.layers)
        flops = forward_cost(config, size, patch, text.positive, dropping).total
        return flops + forward_cost(config, size, patch, text.negative, dropping).total * evaluation.guided

    return price


def reference_cost(price: Price, evaluations: Iterable[Evaluation]) -> int:
    """FLOPs of the same evaluations at ``REFERENCE`` and without Context Drop."""
    return sum(price(replace(e, context_drop=0.0), REFERENCE) for e in evaluations)


def plan_cost(
    plan: SamplingPlan,
    size: LatentSize,
    config: VideoConfig,
    text: TextTokens = TYPICAL_TEXT,
    dtype: torch.dtype = torch.float32,
) -> PlanCost:
    """The cost of one clip.

    Args:
        plan: of the run.
        size: of the latents; patch sizes must divide it (check with ``VideoConfig.check_size``).
        config: of the network.
        text: lengths of the prompts.
        dtype: of the run; half precision rounds t, which may move a switch by a step.

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
    """FLOPs of every step, by which a progress bar advances evenly in time."""
    price = price_list(config, size)
    return [sum(price(e, e.patch) for e in step) for step in _by_step(plan.evaluations(dtype))]


def _by_step(evaluations: Iterable[Evaluation]) -> list[list[Evaluation]]:
    return [list(group) for _, group in groupby(evaluations, key=lambda e: e.step)]


def _segments(
    plan: SamplingPlan, size: LatentSize, evaluations: Iterable[Evaluation], price: Price, total: int
) -> Iterator[Segment]:
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
