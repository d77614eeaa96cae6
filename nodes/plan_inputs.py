"""Nodes whose widgets set fields of a sampling plan; the page's timeline reads the plan from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from comfy_api.latest import io

from ..lumina_core.sampling.plan import SamplingPlan
from ..lumina_core.sampling.presets import PRESETS


class PlanNode(io.ComfyNode):
    """A node whose widgets set fields of a sampling plan."""

    # Widgets that have the name of a field of ``PlanFields``.
    plan_inputs: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def plan_fields(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of ``PlanFields`` that these widgets set, by name. ``inputs`` leaves out linked widgets."""
        return {name: inputs[name] for name in cls.plan_inputs if name in inputs}


def preset_plan(preset: str, **fields: Any) -> SamplingPlan:
    """The preset's plan with these fields changed, except where they are None, blank, or 0 points.

    Args:
        preset: a key of ``PRESETS``.
        fields: of ``SamplingPlan``.

    Raises:
        LuminaError: a field does not parse or is out of range.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    given = {name: value for name, value in given.items() if not isinstance(value, str) or value.strip()}
    if not given.get("points"):
        given.pop("points", None)
    return PRESETS[preset].replace(**given)
