"""A plan as plain lists and numbers, for whoever draws it: schedules, time grid, segments with their cost.

Everything here survives JSON. Nothing is computed twice: schedules come from the one parser, costs from ``cost``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..network.config import VideoConfig
from ..sampling.plan import SamplingPlan
from ..shapes.latents import LatentSize
from ..shapes.schedules import Piecewise, ScheduleError
from .budget import fitting
from .flops import plan_cost
from .memory import GIB, RunSpec, memory_plan
from .memory_advice import advice, smaller

SCHEDULES = ("patch", "guidance", "motion", "negative_motion")
"""The fields of a plan that change with t."""


def schedule_outline(schedule: Piecewise) -> dict[str, Any]:
    """``text`` (canonical), ``values`` (patch sizes as text, numbers, None for none) and ``thresholds``."""
    values = [value if value is None or isinstance(value, (int, float)) else str(value) for value in schedule.values]
    return {"text": str(schedule), "values": values, "thresholds": list(schedule.thresholds)}


def fault_outline(text: str, error: ScheduleError) -> dict[str, Any]:
    """``text``, the sentence as ``error``, and as ``span`` where in the text the faulty segment is (start, end)."""
    return {"text": text, "error": str(error), "span": _span(text, error.segment)}


def plan_outline(
    plan: SamplingPlan, size: LatentSize, config: VideoConfig, room: int | None = None, **facts: Any
) -> dict[str, Any]:
    """The time grid of ``plan`` and what it costs for a clip of ``size``.

    ``room`` is the device's memory in bytes where it is known, ``facts`` are further fields of ``memory.Run``.

    Returns ``grid`` (times of the points), ``segments`` (the fields of ``cost.Segment``, ``patch`` as text, and
    ``steps``), ``flops``, ``relative`` (to ``1x2`` throughout), ``least`` (``relative`` of the coarsest patch size
    throughout), ``nfe``, ``passes`` and ``memory`` (see ``memory_outline``). The size is taken as checked.
    """
    cost = plan_cost(plan, size, config)
    coarsest = min(fitting(size, config), key=size.tokens)
    segments = [asdict(s) | {"patch": str(s.patch), "steps": s.steps} for s in cost.segments]
    return {
        "grid": plan.grid().tolist(),
        "segments": segments,
        "flops": cost.flops,
        "relative": cost.relative,
        "least": plan_cost(plan.replace(patch=coarsest), size, config).relative,
        "nfe": cost.nfe,
        "passes": cost.passes,
        "memory": memory_outline(RunSpec(config, size, plan, **facts), room),
    }


def memory_outline(run: RunSpec, room: int | None) -> dict[str, Any]:
    """GiB of ``sampling``, of its ``weights``, of ``decode``, and the ``total`` at any time.

    ``held`` is the total as the host will run it. ``room`` GiB are there, None where it is not known. ``fits`` is
    "yes", "offload" (by what hosts do by themselves: weights that wait in main memory, guidance in two passes, tiles
    for the decoder), "no" or None where it is not known; ``advice`` says in one sentence what fits where it is not
    "yes".
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
    if room is None:
        return answer
    answer |= {"room": room / GIB, "fits": "yes", "advice": advice(run, room)}
    if plan.fits(room):
        return answer
    found = smaller(run, room)
    if found is None or found.gives_up:
        return answer | {"fits": "no"}
    return answer | {"fits": "offload", "held": found.plan.total / GIB}


def _span(text: str, segment: int | None) -> tuple[int, int]:
    """Start and end of segment ``segment`` (counted from 1) in ``text``, blanks left out; all of it for None."""
    if segment is None:
        return 0, len(text)
    parts = text.split("|")
    start = sum(len(part) + 1 for part in parts[: segment - 1])
    part = parts[segment - 1]
    lead = len(part) - len(part.lstrip())
    return start + lead, start + max(lead, len(part.rstrip()))
