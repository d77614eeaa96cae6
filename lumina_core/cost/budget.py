"""The finest schedule that fits a share of the compute."""

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

    Candidates are all schedules that go from coarse to fine through ``patches`` (any of them may be left out) and
    switch between two steps. Of those that fit, the one with the most steps at the finest patch size wins, all of them
    late; among equals, the one with the most steps at the second finest, and so on down to the coarsest, which takes
    the first steps. Guidance, clock and solver stay as they are in ``plan`` and are counted. A threshold lies midway
    between the last evaluation before its switch and the first one behind it, rounded to the fewest digits that keep
    it in the middle half of that gap.

    Args:
        budget: FLOPs relative to ``1x2`` throughout with the same guidance, above 0 and up to 1.
        size: latent size of the clip; every patch size must divide it.
        patches: patch sizes to use, default those of ``config`` that fit ``size``. Of two with equally many tokens
            (an image has no frames to merge) only the finer is used.

    Raises:
        LuminaError: a budget outside (0, 1], or below the share of the coarsest patch size throughout.

    Examples:
        >>> plan = propose(SamplingPlan(patch="1x2"), 0.3, LatentSize(24, 88, 156), VideoConfig())
        >>> plan.patch.format()
        '2x4 | 0.72: 1x2'
    """
    if not 0 < budget <= 1:
        raise LuminaError(f"budget is {budget}; write a share of the compute of {REFERENCE} throughout, such as 0.3.")
    ladder = _ladder(fitting(size, config) if patches is None else patches, size)
    run = _Run(plan, ladder, price_list(config, size, text))
    room = budget * run.reference * (1 + _ROUNDING)
    steps = plan.steps
    # switches[i] is the first step of ladder[i + 1]; one that equals its successor leaves that patch size out.
    switches = [steps] * (len(ladder) - 1)
    coarsest = run.flops(switches)
    if coarsest > room:
        smallest = math.ceil(coarsest / run.reference * 1000) / 1000
        raise LuminaError(
            f"budget is {budget}, and the coarsest schedule that fits this clip, {ladder[0]} throughout, needs "
            f"{smallest}; allow at least {smallest}."
        )
    for index in reversed(range(len(switches))):
        end = switches[index + 1] if index + 1 < len(switches) else steps
        for step in range(end + 1):
            # Everything before is as coarse as can be, so this is the cheapest schedule with this many fine steps.
            trial = [step] * (index + 1) + switches[index + 1 :]
            if run.flops(trial) <= room:
                switches = trial
                break
    return plan.replace(patch=run.schedule(switches))


def fitting(size: LatentSize, config: VideoConfig) -> tuple[PatchSize, ...]:
    """The patch sizes of ``config`` that ``size`` can be cut into. Raises LuminaError when there is none."""
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
    """Coarsest first, one per token count."""
    finest: dict[int, PatchSize] = {}
    for patch in sorted(patches, key=lambda p: (p.frames * p.space**2, p), reverse=True):
        finest[size.tokens(patch)] = patch
    return [finest[tokens] for tokens in sorted(finest)]


class _Run:
    """The evaluations of a plan, priced at every patch size of a ladder."""

    def __init__(self, plan: SamplingPlan, ladder: list[PatchSize], price: Price) -> None:
        self.ladder = ladder
        evaluations = list(plan.evaluations())
        self.times = [e.t for e in evaluations]
        # Stages at the end of a step share their time with the next step's start, and so its patch size.
        self.starts = [bisect_left(self.times, t) for t in plan.grid()[:-1].tolist()] + [len(evaluations)]
        self.sums = [list(accumulate((price(e, p) for e in evaluations), initial=0)) for p in ladder]
        self.reference = reference_cost(price, evaluations)

    def flops(self, switches: list[int]) -> int:
        """FLOPs when patch size i + 1 of the ladder starts at step ``switches[i]``."""
        bounds = [0, *(self.starts[step] for step in switches), len(self.times)]
        return sum(sums[end] - sums[start] for sums, (start, end) in zip(self.sums, pairwise(bounds), strict=True))

    def schedule(self, switches: list[int]) -> Piecewise[PatchSize]:
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
    """The number of fewest digits in the middle half between two times."""
    middle, room = (low + high) / 2, (high - low) / 4
    for digits in range(1, 17):
        rounded = float(f"{middle:.{digits}g}")
        if abs(rounded - middle) <= room:
            return rounded
    return middle
