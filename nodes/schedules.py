"""Nodes for patch and guidance schedules as MODEL patches, and for the released presets."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.cost.summary import SCHEDULES
from ..lumina_core.sampling.plan import SamplingPlan, number_schedule, patch_schedule
from ..lumina_core.sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from .host.model_patches import set_guidance, set_patch_schedule
from .host.node_ui import with_schedules
from .inputs import guidance_input, patch_input, plan_fault, renorm_input
from .names import schema
from .plan_inputs import PlanNode

# What each clip is called in the tooltip; a multi-scale preset shares that of its single-scale one.
_NAMES = {name: f"{name}, for the bundled model," if name == "mini" else name for name in PRESETS}


def _described(preset: str) -> str:
    clip = preset_clip(preset)
    return f"{_NAMES[preset]} is {clip.fps} fps, {clip.size.frames} frames, {clip.size.width}x{clip.size.height}"


_CLIPS = "; ".join(_described(name) for name in PRESETS if not name.endswith("-MultiScale"))


class PatchSchedule(PlanNode):
    """A MODEL with a patch schedule."""

    plan_inputs = ("patch",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "PatchSchedule",
            title="Lumina-Video Patch Schedule",
            description="Sets the patch size for each range of t: coarse patches while the layout forms, fine "
            "patches for detail. Coarser schedules are faster. Works with any sampler.",
            aliases=("multi-scale", "multiscale", "patch size", "speed up", "faster"),
            inputs=[io.Model.Input("model", tooltip="A Lumina-Video MODEL."), patch_input()],
            outputs=[io.Model.Output(tooltip="The model with the patch schedule.")],
        )

    @classmethod
    def validate_inputs(cls, patch=None):
        return plan_fault(patch=patch)

    @classmethod
    def execute(cls, model, patch) -> io.NodeOutput:
        schedule = patch_schedule(patch)
        return io.NodeOutput(set_patch_schedule(model, schedule), ui=with_schedules(patch=str(schedule)))


class Guidance(PlanNode):
    """A MODEL with a guidance schedule."""

    plan_inputs = ("guidance", "renorm")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Guidance",
            title="Lumina-Video Guidance",
            description="Guidance schedule and renorm for any sampler; the sampler's own cfg is then ignored. "
            "Where the scale is 0, the negative forward pass is skipped.",
            aliases=("cfg", "renorm", "cfg schedule", "guidance scale"),
            inputs=[
                io.Model.Input("model", tooltip="A Lumina-Video MODEL."),
                guidance_input(),
                renorm_input(),
            ],
            outputs=[io.Model.Output(tooltip="The model with the guidance schedule.")],
        )

    @classmethod
    def validate_inputs(cls, guidance=None):
        return plan_fault(guidance=guidance)

    @classmethod
    def execute(cls, model, guidance, renorm) -> io.NodeOutput:
        schedule = number_schedule("guidance", guidance)
        return io.NodeOutput(set_guidance(model, schedule, renorm), ui=with_schedules(guidance=str(schedule)))


class Preset(PlanNode):
    """The settings of a preset as outputs."""

    plan_inputs = ("preset",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Preset",
            title="Lumina-Video Preset",
            description="Outputs the settings of a released sampling preset. Connect them to the other "
            "Lumina-Video nodes.",
            aliases=("settings", "sample config", "steps", "cfg", "fps"),
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=DEFAULT_PRESET,
                    tooltip=f"Settings by their released name: {_CLIPS}. MultiScale presets need a third to a half of "
                    "the compute.",
                )
            ],
            outputs=[
                io.String.Output("patch", tooltip="Patch schedule."),
                io.String.Output("guidance", tooltip="Guidance schedule."),
                io.Float.Output("renorm", tooltip="Limit on the norm of the guided velocity; 0 or less is off."),
                io.String.Output("motion", tooltip="Motion score schedule of the positive prompt."),
                io.String.Output("negative_motion", tooltip="Motion score schedule of the negative prompt."),
                io.Int.Output("points", tooltip="Number of timesteps, one more than the number of steps."),
                io.Float.Output("time_shift", tooltip="Time shift of the timestep schedule."),
                io.Int.Output("width", tooltip="In pixels."),
                io.Int.Output("height", tooltip="In pixels."),
                io.Int.Output("frames", tooltip="Number of frames of the clip."),
                io.Float.Output("fps", tooltip="Frames per second."),
            ],
        )

    @classmethod
    def execute(cls, preset) -> io.NodeOutput:
        plan: SamplingPlan = PRESETS[preset]
        clip = preset_clip(preset)
        return io.NodeOutput(
            str(plan.patch),
            str(plan.guidance),
            plan.renorm,
            str(plan.motion),
            str(plan.negative_motion),
            plan.points,
            plan.time_shift,
            clip.size.width,
            clip.size.height,
            clip.size.frames,
            float(clip.fps),
            ui=with_schedules(**{name: str(getattr(plan, name)) for name in SCHEDULES}),
        )
