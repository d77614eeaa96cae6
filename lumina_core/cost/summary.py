"""Summarizes a plan as JSON values for a user interface: schedules, timesteps, segments with their cost, memory."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..network.config import VideoConfig
from ..sampling.plan import SamplingPlan
from ..shapes.latents import LatentSize
from ..shapes.schedules import Piecewise, ScheduleError
from .budget import fitting
from .flops import PlanCost, plan_cost
from .memory import GIB, RunSpec, memory_plan
from .memory_advice import advice, smaller

# The fields of a plan that change with t.
SCHEDULES = ("patch", "guidance", "motion", "negative_motion")


def schedule_outline(schedule: Piecewise) -> dict[str, Any]:
    """Canonical ``text``, ``values`` (patch sizes as text, numbers, None for ``none``) and ``thresholds``."""
    values = [value if value is None or isinstance(value, (int, float)) else str(value) for value in schedule.values]
    return {"text": str(schedule), "values": values, "thresholds": list(schedule.thresholds)}


def fault_outline(text: str, error: ScheduleError) -> dict[str, Any]:
    """The ``text`` with an error, the message as ``error``, and ``span``, (start, end) of the faulty segment."""
    return {"text": text, "error": str(error), "span": _span(text, error.segment)}


def cost_outline(cost: PlanCost) -> dict[str, Any]:
    """The cost of a plan for one clip.

    Returns:
        ``segments`` (fields of ``flops.Segment`` with ``patch`` as text, and ``steps``), ``flops``, ``relative`` (to a
        constant ``1x2`` schedule), ``nfe`` and ``passes``.
    """
    return {
        "segments": [asdict(s) | {"patch": str(s.patch), "steps": s.steps} for s in cost.segments],
        "flops": cost.flops,
        "relative": cost.relative,
        "nfe": cost.nfe,
        "passes": cost.passes,
    }


def plan_outline(
    plan: SamplingPlan, size: LatentSize, config: VideoConfig, available: int | None = None, **facts: Any
) -> dict[str, Any]:
    """The timesteps of a plan and its cost for one clip.

    Args:
        plan: of the run.
        size: of the latents; patch sizes must divide it.
        config: of the network.
        available: memory of the device in bytes, None if it is not known.
        facts: further fields of ``memory.RunSpec``.

    Returns:
        ``grid`` (timesteps of the points), all of ``cost_outline``, ``least`` (``relative`` of a constant schedule of
        the coarsest patch size), and ``memory`` (see ``memory_outline``).
    """
    cost = plan_cost(plan, size, config)
    coarsest = min(fitting(size, config), key=size.tokens)
    return {
        "grid": plan.grid().tolist(),
        **cost_outline(cost),
        "least": plan_cost(plan.replace(patch=coarsest), size, config).relative,
        "memory": memory_outline(RunSpec(config, size, plan, **facts), available),
    }


def memory_outline(run: RunSpec, available: int | None) -> dict[str, Any]:
    """The memory of a run in GiB.

    Args:
        run: to summarize.
        available: memory of the device in bytes, None if it is not known.

    Returns:
        ``sampling``, ``weights`` (part of sampling), ``decode``, ``total`` (the peak), ``held`` (the peak as the host
        runs it), ``room`` (what is available, None if not known), ``fits`` and ``advice``. ``fits`` is "yes", "offload"
        if it fits with what hosts do automatically (offloaded weights, guidance in two passes, tiled decoding), "no",
        or None if ``available`` is None. ``advice`` is one sentence unless ``fits`` is "yes".
    """
    plan = memory_plan(run)
    answer = {
        "sampling": plan.sampling / GIB,
        "weights": plan.weights / GIB,
        "decode": plan.decoding / GIB,
        "total": plan.total / GIB,
        "held": plan.total / GIB,
        "room": None,
        "fits": None,
        "advice": None,
    }
    if available is None:
        return answer
    answer |= {"room": available / GIB, "fits": "yes", "advice": advice(run, available)}
    if plan.fits(available):
        return answer
    found = smaller(run, available)
    if found is None or found.gives_up:
        return answer | {"fits": "no"}
    return answer | {"fits": "offload", "held": found.plan.total / GIB}


def _span(text: str, segment: int | None) -> tuple[int, int]:
    """Start and end of segment ``segment`` (from 1) in ``text`` without blanks around it; of all text if None."""
    if segment is None:
        return 0, len(text)
    parts = text.split("|")
    start = sum(len(part) + 1 for part in parts[: segment - 1])
    part = parts[segment - 1]
    lead = len(part) - len(part.lstrip())
    return start + lead, start + max(lead, len(part.rstrip()))
