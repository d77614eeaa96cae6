"""Nodes for SIGMAS and GUIDER of SamplerCustomAdvanced."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.sampling.draft import draft_steps
from ..lumina_core.sampling.plan import number_schedule, patch_schedule
from ..lumina_core.sampling.timesteps import schedule_times, to_sigmas
from .host.node_ui import with_schedules
from .host.sampling import make_guider
from .inputs import DEFAULT_PLAN, first_fault, guidance_input, patch_input, plan_fault, renorm_input, times_input
from .names import schema
from .plan_inputs import PlanNode


class Sigmas(PlanNode):
    """The official timestep schedule as SIGMAS."""

    plan_inputs = ("points", "time_shift", "times")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Sigmas",
            title="Lumina-Video Sigmas",
            description="The official timestep schedule as SIGMAS (sigma = 1 - t). The built-in schedulers "
            "only approximate it.",
            aliases=("scheduler", "time shift", "steps", "shift", "basic scheduler"),
            inputs=[
                io.Int.Input(
                    "points",
                    default=DEFAULT_PLAN.points,
                    min=2,
                    max=1000,
                    tooltip="Number of sigmas, both ends included: 70 points are 69 steps. More points are slower "
                    "and more accurate.",
                ),
                io.Float.Input(
                    "time_shift",
                    default=DEFAULT_PLAN.time_shift,
                    min=0.01,
                    max=1000.0,
                    step=0.5,
                    tooltip="Values above 1 place more steps near the noise: 24 for the 960-class, 8 for the "
                    "512-class, 1 for no shift.",
                ),
                times_input("", "Leave empty for rational. ", "through 0.1 0.35 moves the nearest points onto these t"),
            ],
            advanced=("times",),
            outputs=[io.Sigmas.Output(tooltip="The sigmas, from 1 down to 0.")],
        )

    @classmethod
    def validate_inputs(cls, times=None):
        return first_fault(lambda: schedule_times(times or "", DEFAULT_PLAN.points))

    @classmethod
    def execute(cls, points, time_shift, times="") -> io.NodeOutput:
        return io.NodeOutput(to_sigmas(schedule_times(times, points, time_shift)))


class SplitSigmas(PlanNode):
    """SIGMAS split into draft and refine."""

    plan_inputs = ("patch",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "SplitSigmas",
            title="Lumina-Video Split Sigmas (draft, refine)",
            description="Splits the sigmas at the step where the patch schedule leaves its first, coarsest "
            "patch size. Draft several seeds with the first part, then refine the best one with the "
            "second.",
            aliases=("draft", "refine", "split", "two pass"),
            inputs=[
                io.Sigmas.Input("sigmas", tooltip="From Lumina-Video Sigmas."),
                patch_input(note="The patch schedule of the model. "),
            ],
            outputs=[
                io.Sigmas.Output("draft", tooltip="The steps at the first patch size."),
                io.Sigmas.Output("refine", tooltip="The remaining steps."),
            ],
        )

    @classmethod
    def validate_inputs(cls, patch=None):
        return plan_fault(patch=patch)

    @classmethod
    def execute(cls, sigmas, patch) -> io.NodeOutput:
        schedule = patch_schedule(patch)
        step = draft_steps(schedule, (1.0 - sigmas).tolist())
        return io.NodeOutput(sigmas[: step + 1], sigmas[step:], ui=with_schedules(patch=str(schedule)))


class Guider(PlanNode):
    """A GUIDER with a guidance schedule."""

    plan_inputs = ("guidance", "renorm")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Guider",
            title="Lumina-Video Guider",
            description="Guidance schedule and renorm as a GUIDER for SamplerCustomAdvanced. Where the scale "
            "is 0, the negative forward pass is skipped.",
            aliases=("cfg guider", "renorm", "cfg schedule"),
            inputs=[
                io.Model.Input("model", tooltip="A Lumina-Video MODEL, with or without a patch schedule."),
                io.Conditioning.Input("positive", tooltip="Conditioning of what the clip should show."),
                io.Conditioning.Input(
                    "negative", tooltip="Conditioning of what the clip should not show, usually an empty prompt."
                ),
                guidance_input(),
                renorm_input(),
            ],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def validate_inputs(cls, guidance=None):
        return plan_fault(guidance=guidance)

    @classmethod
    def execute(cls, model, positive, negative, guidance, renorm) -> io.NodeOutput:
        schedules = with_schedules(guidance=str(number_schedule("guidance", guidance)))
        return io.NodeOutput(make_guider(model, positive, negative, guidance, renorm), ui=schedules)
