"""A sampling plan: schedules, time grid, solver and options of a sampling run, as one frozen value."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch

from ..errors import LuminaError
from ..network.forward_options import NetworkOptions
from ..shapes.schedules import PatchSize, Piecewise, ScheduleError, parse_number, parse_patch
from .solvers import SOLVERS
from .timesteps import listed_times, schedule_times

T = TypeVar("T")
NumberSchedule = Piecewise[float | None]
# Solvers that can use the step cache: those with one evaluation per step.
CACHED_SOLVERS = tuple(name for name, solver in SOLVERS.items() if solver.evaluations == 1)


@dataclass(frozen=True)
class Evaluation:
    """The settings of one evaluation of a run.

    Args:
        step: index of the step, from 0.
        t: timestep, 0 (noise) to 1 (data).
        patch: patch size.
        guidance: scale g, from 0.
        motion, negative_motion: motion scores of the positive and the negative forward pass; None adds no embedding.
        context_drop: see ``network.forward_options.NetworkOptions``.
        positions: differs between timesteps where the RoPE scaling jumps.
    """

    step: int
    t: float
    patch: PatchSize
    guidance: float
    motion: float | None
    negative_motion: float | None
    context_drop: float = 0.0
    positions: Hashable = None

    @property
    def guided(self) -> bool:
        """Whether the negative forward pass runs too."""
        return self.guidance > 0

    @property
    def passes(self) -> int:
        """Forward passes per sample: the positive one, and the negative one when guided."""
        return 2 if self.guided else 1

    @property
    def segment(self) -> tuple[object, ...]:
        """A key that is equal for evaluations with the same settings. Where it changes, the velocity may jump."""
        negative = self.negative_motion if self.guided else None
        return str(self.patch), self.guidance, self.motion, negative, self.positions


@dataclass(frozen=True, init=False)
class SamplingPlan:
    """Patch, guidance and motion schedules, renorm, time grid and solver of a run.

    Schedules may be given as text, as a plain value or as ``Piecewise``, and are stored as ``Piecewise``.

    Args:
        patch: patch size over t, such as ``2x4 | 0.03: 2x2 | 0.125: 1x2``.
        guidance: scale g of ``pos + g (pos - neg)`` over t; ComfyUI's CFG scale is g + 1. 0 or ``none`` skips the
            negative forward pass.
        motion: motion score of the positive forward pass over t; ``none`` or a negative number adds no embedding.
        negative_motion: the same for the negative forward pass.
        renorm: upper bound on the norm of the guided velocity, as a multiple of the positive one's; <= 0 is off.
        time_shift: shift of the time grid, above 0; 1 or None is no shift.
        points: points of the time grid, at least 2; the run has ``points - 1`` steps.
        solver: a name in ``lumina_core.sampling.solvers.SOLVERS``.
        cache: tolerance of the step cache (see ``step_cache``), 0 to 1; 0 is off. Solvers with several evaluations per
            step cannot use it.
        times: time schedule (see ``timesteps``). Empty is the rational one, which is the only one that uses
            ``time_shift``. A list of times also replaces ``points``.
        rope, proportional, context_drop: see ``forward_options.NetworkOptions``.

    Raises:
        LuminaError: a field does not parse or is out of range.

    Examples:
        >>> plan = SamplingPlan(patch="2x4 | 0.1: 2x2 | 0.35: 1x2", guidance="4 | 0.48: 0", time_shift=4, points=31)
        >>> plan.steps, plan.patch.at(0.2)
        (30, PatchSize(frames=2, space=2))
        >>> sum(evaluation.passes for evaluation in plan.evaluations())
        54
    """

    patch: Piecewise[PatchSize]
    guidance: NumberSchedule
    motion: NumberSchedule
    negative_motion: NumberSchedule
    renorm: float
    time_shift: float
    points: int
    solver: str
    cache: float
    times: str
    rope: str
    proportional: bool
    context_drop: float

    def __init__(
        self,
        patch: Piecewise[PatchSize] | PatchSize | str,
        guidance: NumberSchedule | float | str | None = 0.0,
        motion: NumberSchedule | float | str | None = None,
        negative_motion: NumberSchedule | float | str | None = None,
        renorm: float = -1.0,
        time_shift: float | None = 1.0,
        points: int = 70,
        solver: str = "euler",
        cache: float = 0.0,
        times: str = "",
        rope: str = "auto",
        proportional: bool = False,
        context_drop: float = 0.0,
    ):
        values = {
            "patch": patch_schedule(patch),
            "guidance": number_schedule("guidance", guidance),
            "motion": number_schedule("motion", motion),
            "negative_motion": number_schedule("negative_motion", negative_motion),
            "renorm": _number("renorm", renorm),
            "time_shift": 1.0 if time_shift is None else _number("time_shift", time_shift),
            "points": _points(points, times),
            "solver": solver,
            "cache": _number("cache", cache),
            "times": times,
            "rope": rope,
            "proportional": proportional,
            "context_drop": _number("context_drop", context_drop),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        if not self.time_shift > 0:
            raise LuminaError(
                f"time_shift is {self.time_shift}; write a number above 0 (1 = no shift).",
                field="time_shift",
                kind="value",
            )
        if self.solver not in SOLVERS:
            raise LuminaError(
                f"solver is '{self.solver}'; choose one of {', '.join(SOLVERS)}.", field="solver", kind="value"
            )
        if self.points < SOLVERS[self.solver].points:
            raise LuminaError(
                f"solver is '{self.solver}' and points is {self.points}, too few for its order; write at least "
                f"{SOLVERS[self.solver].points} points, or choose euler.",
                field="points",
                kind="value",
            )
        if not 0 <= self.cache <= 1:
            raise LuminaError(f"cache is {self.cache}; write a number from 0 (off) to 1.", field="cache", kind="value")
        if self.cache and self.solver not in CACHED_SOLVERS:
            raise LuminaError(
                f"cache is {self.cache} and solver is '{self.solver}', which evaluates several times per step; "
                f"choose one of {', '.join(CACHED_SOLVERS)}, or cache 0.",
                field="cache",
                kind="value",
            )
        # Making these checks the remaining fields.
        self.grid()
        NetworkOptions(self.rope, self.proportional, self.context_drop)

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return self.points - 1

    @property
    def patches(self) -> tuple[PatchSize, ...]:
        """Every patch size of the schedule, in order of use, each once."""
        return tuple(dict.fromkeys(self.patch.values))

    @property
    def network(self) -> NetworkOptions:
        """The options of the network's forward pass."""
        return NetworkOptions(self.rope, self.proportional, self.context_drop)

    def grid(self) -> torch.Tensor:
        """The ``points`` timesteps of the run, float32, from 0 to 1."""
        return schedule_times(self.times, self.points, self.time_shift, self.switch_times())

    def switch_times(self) -> tuple[float, ...]:
        """Every t at which the settings of an evaluation change, in rising order."""
        schedules = (self.patch, self.guidance, self.motion, self.negative_motion)
        thresholds = {t for schedule in schedules for t in schedule.thresholds}
        return tuple(t for t in sorted(thresholds) if self.at(t).segment != self.at(math.nextafter(t, 0)).segment)

    def at(self, t: float, step: int = 0) -> Evaluation:
        """The evaluation at timestep ``t``, with the schedules looked up."""
        return Evaluation(
            step, t, self.patch.at(t), self.guidance.at(t) or 0.0, self.motion.at(t), self.negative_motion.at(t),
            self.context_drop, self.network.stretch(t),
        )  # fmt: skip

    def evaluations(self, dtype: torch.dtype = torch.float32) -> Iterator[Evaluation]:
        """Every evaluation of the run in order, with t rounded to the dtype of the run as the sampler does."""
        grid = self.grid()
        stage_times = SOLVERS[self.solver].stage_times
        for step in range(self.steps):
            for t in stage_times(grid[step], grid[step + 1]):
                yield self.at(float(t.to(dtype)), step)

    def replace(self, **changes: Any) -> SamplingPlan:
        """A copy with some fields changed. Raises LuminaError as the class does."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, str | float | int]:
        """The fields as JSON values, schedules as canonical text; ``SamplingPlan(**plan.as_dict()) == plan``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: str(v) if isinstance(v, Piecewise) else v for name, v in values.items()}


def patch_schedule(value: Piecewise[PatchSize] | PatchSize | str) -> Piecewise[PatchSize]:
    """The patch schedule of a ``Piecewise``, a patch size or text. Raises ScheduleError."""
    if isinstance(value, Piecewise):
        return value
    if isinstance(value, PatchSize):
        return Piecewise.constant(value)
    return _named("patch", parse_patch, value)


def number_schedule(name: str, value: NumberSchedule | float | str | None) -> NumberSchedule:
    """The schedule of numbers of a ``Piecewise``, a number, None or text, for the field ``name``.

    Raises:
        ScheduleError: the text does not parse.
        LuminaError: the number is not finite.
    """
    if isinstance(value, Piecewise):
        return value
    if isinstance(value, str):
        return _named(name, parse_number, value)
    return Piecewise.constant(None if value is None else _number(name, value))


def _named(name: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ScheduleError as error:
        raise ScheduleError(f"{name} schedule '{text}': {error}", error.segment, name) from None


def _points(points: int, times: str) -> int:
    """How many points the time grid has: as many as ``times`` lists, otherwise ``points``. Raises LuminaError."""
    if not isinstance(times, str):
        raise LuminaError(f"times is {times!r}; write a text, such as 0, 0.1, 0.4, 1.", field="times", kind="value")
    if (listed := listed_times(times)) is not None:
        return len(listed)
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise LuminaError(
            f"points is {points!r}; write a whole number of at least 2 (1 step).", field="points", kind="value"
        )
    return points


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise LuminaError(f"{name} is {value!r}; write a number.", field=name, kind="value") from None
    if not math.isfinite(number):
        raise LuminaError(f"{name} is {number}; write a finite number.", field=name, kind="value")
    return number
