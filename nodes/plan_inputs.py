"""Which widgets of a node make a sampling plan: each node class says it, and the page's timeline asks the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from comfy_api.latest import io

from ..lumina_core.sampling.plan import SamplingPlan
from ..lumina_core.sampling.presets import PRESETS


class PlanNode(io.ComfyNode):
    """A node whose widgets decide a part of a sampling plan."""

    plan_inputs: ClassVar[tuple[str, ...]] = ()
    """Widgets that are fields of a plan, or of what it is made for, under the same name."""

    @classmethod
    def plan_fields(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that these values of the widgets decide; widgets with a link are left out of ``inputs``."""
        return {name: inputs[name] for name in cls.plan_inputs if name in inputs}


def preset_plan(preset: str, **fields: Any) -> SamplingPlan:
    """The preset's plan with these fields in place of its own, where they are not None, blank, or 0 points.

    Raises:
        LuminaError: a field does not parse or is out of range.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    given = {name: value for name, value in given.items() if not isinstance(value, str) or value.strip()}
    if not given.get("points"):
        given.pop("points", None)
    return PRESETS[preset].replace(**given)
