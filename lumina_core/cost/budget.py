"""Chooses the patch schedule with the finest late steps for a compute budget."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, pairwise

from ..errors import LuminaError
from ..network.config import VideoConfig
from ..sampling.plan import SamplingPlan
from ..shapes.latents import LatentSize
from ..shapes.schedules import PatchSize, Piecewise
from .flops import REFERENCE, TYPICAL_TEXT, Price, TextTokens, price_list, reference_cost

# Tolerance of the budget, so that a budget equal to a schedule's cost admits it.
_ROUNDING = 1e-12


def propose(
    plan: SamplingPlan,
    budget: float,
    size: LatentSize,
    config: VideoConfig,
    patches: Iterable[PatchSize] | None = None,
    text: TextTokens = TYPICAL_TEXT,
) -> SamplingPlan:
    """``plan`` with the patch schedule that has the finest late steps and costs at most ``budget``.

    Candidates are the schedules that go from coarse to fine through ``patches``, any of which may be left out, and
    switch between two steps. Among those within the budget, the one with the most steps at the finest patch size is
    chosen; among equals, the one with the most steps at the second finest, and so on. The coarsest takes the first
    steps. Guidance, timesteps and solver are those of ``plan``. Each threshold lies midway between the last evaluation
    before its switch and the first one after it, rounded to the fewest digits within the middle half of that gap.

    Args:
        plan: its patch schedule is replaced.
        budget: FLOPs relative to a constant ``1x2`` schedule with the same guidance, above 0 and up to 1.
        size: latent size of the clip; every patch size must divide it.
        config: of the network.
        patches: patch sizes to use, by default those of ``config`` that divide ``size``. Of two with equally many
            tokens (an image has no frames to merge) only the finer is used.
        text: length of the prompts.

    Raises:
        LuminaError: a budget outside of (0, 1], or below the cost of a constant schedule of the coarsest patch size.

    Examples:
        >>> plan = propose(SamplingPlan(patch="1x2"), 0.3, LatentSize(24, 88, 156), VideoConfig())
        >>> plan.patch.format()
        '2x4 | 0.72: 1x2'
    """
    if not 0 < budget <= 1:
        raise LuminaError(
            f"budget is {budget}; write a fraction of the FLOPs of a constant {REFERENCE} schedule, such as 0.3.",
            field="budget",
            kind="value",
        )
    ladder = _ladder(fitting(size, config) if patches is None else patches, size)
    priced = _PricedPlan(plan, ladder, price_list(config, size, text))
    allowed = budget * priced.reference * (1 + _ROUNDING)
    steps = plan.steps
    # switches[i] is the first step of ladder[i + 1]. If it equals switches[i + 1], that patch size is left out.
    switches = [steps] * (len(ladder) - 1)
    coarsest = priced.flops(switches)
    if coarsest > allowed:
        smallest = math.ceil(coarsest / priced.reference * 1000) / 1000
        raise LuminaError(
            f"budget is {budget}, and the coarsest schedule for this clip, a constant {ladder[0]}, costs {smallest}; "
            f"use at least {smallest}.",
            field="budget",
            kind="value",
        )
    for index in reversed(range(len(switches))):
        end = switches[index + 1] if index + 1 < len(switches) else steps
        for step in range(end + 1):
            # All earlier steps are at the coarsest patch size, so this schedule is the cheapest with so many fine ones.
            trial = [step] * (index + 1) + switches[index + 1 :]
            if priced.flops(trial) <= allowed:
                switches = trial
                break
    return plan.replace(patch=priced.schedule(switches))


def fitting(size: LatentSize, config: VideoConfig) -> tuple[PatchSize, ...]:
    """The patch sizes of ``config`` that divide ``size``. Raises LuminaError if there is none."""
    fits: list[PatchSize] = []
    refusal: LuminaError | None = None
    for patch in config.patches:
        try:
            config.check_size(size, [patch])
            fits.append(patch)
        except LuminaError as error:
            refusal = refusal or error
    if refusal is not None and not fits:
        raise refusal
    return tuple(fits)


def _ladder(patches: Iterable[PatchSize], size: LatentSize) -> list[PatchSize]:
    """The patch sizes from coarse to fine, one per token count."""
    finest: dict[int, PatchSize] = {}
    for patch in sorted(patches, key=lambda p: (p.frames * p.space**2, p), reverse=True):
        finest[size.tokens(patch)] = patch
    return [finest[tokens] for tokens in sorted(finest)]


class _PricedPlan:
    """The FLOPs of every evaluation of a plan at every patch size of a ladder."""

    def __init__(self, plan: SamplingPlan, ladder: list[PatchSize], price: Price) -> None:
        self.ladder = ladder
        evaluations = list(plan.evaluations())
        self.times = [e.t for e in evaluations]
        # Solver stages at the end of a step have the timestep, and so the patch size, of the next step's start.
        self.starts = [bisect_left(self.times, t) for t in plan.grid()[:-1].tolist()] + [len(evaluations)]
        self.sums = [list(accumulate((price(e, p) for e in evaluations), initial=0)) for p in ladder]
        self.reference = reference_cost(price, evaluations)

    def flops(self, switches: list[int]) -> int:
        """FLOPs when patch size i + 1 of the ladder starts at step ``switches[i]``."""
        bounds = [0, *(self.starts[step] for step in switches), len(self.times)]
        return sum(sums[end] - sums[start] for sums, (start, end) in zip(self.sums, pairwise(bounds), strict=True))

    def schedule(self, switches: list[int]) -> Piecewise[PatchSize]:
        """The patch schedule of ``switches``."""
        values, thresholds = [self.ladder[0]], []
        last = len(self.starts) - 1
        for index, step in enumerate(switches):
            following = switches[index + 1] if index + 1 < len(switches) else last
            if step == following:
                continue
            if step == 0:
                values = [self.ladder[index + 1]]
                continue
            first = self.starts[step]
            values.append(self.ladder[index + 1])
            thresholds.append(_between(self.times[first - 1], self.times[first]))
        return Piecewise(tuple(values), tuple(thresholds))


def _between(low: float, high: float) -> float:
    """The number with the fewest digits in the middle half of the interval."""
    middle, tolerance = (low + high) / 2, (high - low) / 4
    for digits in range(1, 17):
        rounded = float(f"{middle:.{digits}g}")
        if abs(rounded - middle) <= tolerance:
            return rounded
    return middle
