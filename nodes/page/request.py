"""A request of the page about a plan, with checked types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...lumina_core.errors import LuminaError
from ...lumina_core.runtime.dataclass_schema import build
from .graph import plan_fields

# The limit of the nodes; a longer time grid would only block the server.
MOST_POINTS = 1000


class BadRequest(LuminaError):
    """A malformed request, which the pack's own page never sends."""


@dataclass(frozen=True)
class PlanFields:
    """Values of the graph's widgets by name, as in ``SamplingPlan``; None is the preset's value or unknown.

    Args:
        preset, solver: names; other names are those of the host.
        seconds: length of the clip, which replaces ``frames`` if above 0.
        model_name, weight_dtype: entries of the model loader.
        batch_size: number of clips per batch.
    """

    patch: str | None = None
    guidance: str | None = None
    motion: str | None = None
    negative_motion: str | None = None
    times: str | None = None
    preset: str | None = None
    solver: str | None = None
    model_name: str | None = None
    weight_dtype: str | None = None
    points: int | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    batch_size: int = 1
    seconds: float = 0.0
    time_shift: float | None = None
    renorm: float | None = None
    context_drop: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise BadRequest(f"{name} is {value}; send a finite number.", field=name)
        if self.points is not None and self.points > MOST_POINTS:
            raise BadRequest(f"points is {self.points}; send at most {MOST_POINTS}.", field="points")
        if self.batch_size < 1:
            raise BadRequest(f"batch_size is {self.batch_size}; send at least 1.", field="batch_size")


@dataclass(frozen=True)
class PlanRequest:
    """The body of a request.

    Args:
        fields: of the node with the timeline and of the nodes connected to it.
        budget: asks for the finest patch schedule with this share of the cost of 1x2 throughout; None keeps the
            schedule.
    """

    fields: PlanFields = field(default_factory=PlanFields)
    budget: float | None = None

    @classmethod
    def of(cls, body: Any) -> PlanRequest:
        """Read a request's JSON: ``fields``, ``nodes`` (see ``plan_fields``) and ``budget``, each optional.

        Fields that are null (a linked widget) or blank are left out.

        Raises:
            BadRequest: the body has another form, or a value has the wrong type.
        """
        if not isinstance(body, Mapping) or not isinstance(body.get("fields", {}), Mapping):
            raise BadRequest('The request is not an object with "fields"; send {"fields": {name: value, ...}}.')
        nodes = body.get("nodes") or []
        if not isinstance(nodes, list) or not all(_is_node(node) for node in nodes):
            raise BadRequest('nodes is not a list of nodes; send [{"kind": ..., "inputs": {...}}, ...].', field="nodes")
        fields = plan_fields(nodes, body.get("fields", {}))
        given = {name: value for name, value in fields.items() if value not in (None, "")}
        try:
            request = build(cls, {"fields": given, "budget": body.get("budget")}, "The request")
        except BadRequest:
            raise
        except LuminaError as error:
            raise BadRequest(str(error), field=error.field) from None
        if request.budget is not None and not math.isfinite(request.budget):
            raise BadRequest(f"budget is {request.budget}; send a finite number.", field="budget")
        return request


def _is_node(node: Any) -> bool:
    return isinstance(node, Mapping) and isinstance(node.get("kind"), str) and isinstance(node.get("inputs"), Mapping)
