"""A node for the step cache: MODEL to MODEL."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.sampling.step_cache import RECOMMENDED
from .host.step_cache import set_step_cache
from .names import schema


class StepCache(io.ComfyNode):
    """A MODEL with a step cache."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "StepCache",
            title="Lumina-Video Step Cache",
            description="Skips the forward pass in steps where the velocity can be extrapolated from earlier "
            "steps, in samplers that evaluate once per step. Faster but not exact: see the help page for "
            "speed and quality. It restarts wherever the patch size, guidance or motion score changes.",
            aliases=("easycache", "teacache", "speed up", "faster", "skip steps"),
            inputs=[
                io.Model.Input("model", tooltip="A Lumina-Video MODEL."),
                io.Float.Input(
                    "tolerance",
                    default=RECOMMENDED,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Largest relative change of the velocity at which a step is skipped. Higher is faster "
                    "and less exact; typically 0.2, 0 is off.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with the step cache.")],
        )

    @classmethod
    def execute(cls, model, tolerance) -> io.NodeOutput:
        return io.NodeOutput(set_step_cache(model, tolerance))
