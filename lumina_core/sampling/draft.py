"""Draft and refine: where a run is split into a draft at the first, coarsest patch size and the remaining steps."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import LuminaError
from ..shapes.schedules import PatchSize, Piecewise


def draft_steps(patch: Piecewise[PatchSize], times: Sequence[float]) -> int:
    """How many steps a draft takes: those before the schedule leaves its first patch size.

    Args:
        patch: patch size over flow time t.
        times: the time grid, rising from 0 to 1.

    Raises:
        LuminaError: every step has the first patch size.
    """
    for step, t in enumerate(times[:-1]):
        if step and patch.at(t) != patch.values[0]:
            return step
    raise LuminaError(
        f"patch schedule '{patch}' has the same patch size in all {len(times) - 1} steps; write a schedule that "
        "changes, such as 2x4 | 0.03: 2x2 | 0.125: 1x2, or use more points.",
        field="patch",
        kind="value",
    )
