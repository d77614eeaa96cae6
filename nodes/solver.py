"""A node for the ODE solvers as a SAMPLER."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.sampling.solvers import SOLVERS, solvers_by_evaluations
from .host.solver import solver_sampler
from .names import schema
from .plan_inputs import PlanNode


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])


_PER_STEP = "; ".join(f"{count} for {_listed(names)}" for count, names in solvers_by_evaluations().items())
SOLVER_TOOLTIP = f"Model evaluations per step: {_PER_STEP}."


class Solver(PlanNode):
    """An ODE solver as a SAMPLER."""

    plan_inputs = ("solver",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Solver",
            title="Lumina-Video Solver",
            description="ODE solver as a SAMPLER for SamplerCustom and SamplerCustomAdvanced, with the sigmas "
            "of any scheduler. Multistep solvers restart wherever the patch size, guidance or motion "
            "score changes.",
            aliases=("sampler", "heun", "runge kutta", "adams bashforth", "dpm++ 2m", "fewer steps", "ksampler select"),
            inputs=[
                io.Combo.Input("solver", options=list(SOLVERS), default="adams2", tooltip=SOLVER_TOOLTIP),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, solver) -> io.NodeOutput:
        return io.NodeOutput(solver_sampler(solver))
