"""The plan that a graph describes, from the widgets of its nodes, which the page sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..catalog import NODE_CLASSES
from ..names import PREFIX
from ..plan_inputs import PlanNode

# Classes of the nodes that set fields of a plan, by node id.
PLAN_NODES = {PREFIX + node.__name__: node for node in NODE_CLASSES if issubclass(node, PlanNode)}
_HOST_SAMPLERS = ("KSampler", "KSamplerAdvanced")


def plan_fields(nodes: list[dict[str, Any]], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a plan that a graph sets, by name. The nearest node that sets a field counts.

    Args:
        nodes: ``{kind, inputs: {name: value}}`` of the nodes that are connected to the one with the timeline, nearest
            first, with the widgets that have no link.
        fields: those of the node with the timeline itself. A blank value also counts, and selects the preset's.
    """
    found = dict(fields)
    for node in nodes:
        found = {**_fields_of(node["kind"], node["inputs"]), **found}
    return found


def _fields_of(kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
    if kind in _HOST_SAMPLERS:
        steps = inputs.get("steps")
        return {"points": steps + 1} if isinstance(steps, int) else {}
    node = PLAN_NODES.get(kind)
    return node.plan_fields(inputs) if node else {}
