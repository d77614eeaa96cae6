"""A node for Context Drop: early layers attend to pooled keys and values until a flow time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..lumina_core.network.context_drop import RECOMMENDED
from .host.model_patches import set_network
from .host.video_model import check_lumina_model
from .names import schema
from .plan_inputs import PlanNode


class ContextDrop(PlanNode):
    """A MODEL with Context Drop."""

    @classmethod
    def plan_fields(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The plan's context_drop."""
        return {"context_drop": inputs["until"]} if "until" in inputs else {}

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ContextDrop",
            title="Lumina-Video Context Drop",
            description="Context Drop: early in sampling, the first layers attend to keys and values averaged "
            "over 2 x 2 patches. Faster, most of all for large clips, but not exact. See the help page "
            "for speed and quality.",
            aliases=("token merging", "tome", "pooled attention", "speed up", "faster"),
            inputs=[
                io.Model.Input("model", tooltip="From Load Lumina-Video Model or Load Lumina-Next Model."),
                io.Float.Input(
                    "until",
                    default=RECOMMENDED,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Context Drop is active until this t: in all of these layers at t = 0, in fewer and "
                    "fewer layers later. Higher is faster and less exact; typically 0.1, 0 is off.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with Context Drop.")],
        )

    @classmethod
    def execute(cls, model, until) -> io.NodeOutput:
        check_lumina_model(model, "Lumina-Video Context Drop")
        return io.NodeOutput(set_network(model, context_drop=until))
