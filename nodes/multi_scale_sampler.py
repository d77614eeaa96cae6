"""The all-in-one node for text-to-video: prompts to latents, with a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..lumina_core.cost.summary import SCHEDULES
from ..lumina_core.network.forward_options import AS_TRAINED, ROPES
from ..lumina_core.sampling.plan import SamplingPlan
from ..lumina_core.sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..lumina_core.sampling.solvers import SOLVERS
from .conditioning import cut_message, encode_text
from .host.conditioning import set_motion
from .host.model_patches import set_network, set_patch_schedule
from .host.node_ui import note, with_schedules
from .host.plain_text import check_texts, unlearned_text
from .host.run_options import with_options
from .host.sampling import make_guider, sample_video
from .inputs import (
    clip_frames,
    first_fault,
    guidance_input,
    latent_size,
    motion_input,
    patch_input,
    seed_input,
    size_inputs,
    times_input,
)
from .latents import empty_latent
from .names import schema
from .plan_inputs import PlanNode, preset_plan
from .solver import SOLVER_TOOLTIP

OWN = "Leave empty to use the preset. "


def text_inputs() -> list[io.Input]:
    """The inputs model, clip, prompt and negative_prompt."""
    return [
        io.Model.Input("model", tooltip="From Load Lumina-Video Model."),
        io.Clip.Input(
            "clip",
            tooltip="The Gemma-2-2B text encoder, from Load CLIP with type lumina2 or from Load "
            "Lumina-Video Text Encoder (folder).",
        ),
        io.String.Input(
            "prompt",
            multiline=True,
            dynamic_prompts=True,
            tooltip="What the clip should show, in plain sentences. There is no weighting syntax.",
        ),
        io.String.Input(
            "negative_prompt", multiline=True, tooltip="What the clip should not show; may be empty."
        ),
    ]


def preset_input() -> io.Input:
    """The input preset."""
    return io.Combo.Input(
        "preset",
        options=list(PRESETS),
        default=DEFAULT_PRESET,
        tooltip="Sampling settings as released: f24F96R960 for the 960-class model at 24 fps, "
        "f16F64R512 for the 512-class model at 16 fps, mini for the bundled model. MultiScale presets "
        "need a third to a half of the compute.",
    )


def schedule_inputs() -> list[io.Input]:
    """The schedules over t, each of which replaces that of the preset."""
    return [
        patch_input("", OWN, optional=True, placeholder="preset"),
        guidance_input("", OWN, optional=True, placeholder="preset"),
        motion_input("motion", "", "positive", OWN, optional=True, placeholder="preset"),
        motion_input("negative_motion", "", "negative", OWN, optional=True, placeholder="preset"),
    ]


def step_inputs() -> list[io.Input]:
    """The inputs of the time grid and of the length of the clip: points, solver, seconds and times."""
    return [
        io.Int.Input(
            "points",
            default=0,
            min=0,
            max=1000,
            optional=True,
            tooltip="Number of timesteps, one more than the number of steps: 70 points are 69 steps. 0 "
            "uses the preset.",
        ),
        io.Combo.Input(
            "solver",
            options=list(SOLVERS),
            default="euler",
            optional=True,
            tooltip=SOLVER_TOOLTIP,
        ),
        io.Float.Input(
            "seconds",
            default=0.0,
            min=0.0,
            max=60.0,
            step=0.5,
            optional=True,
            tooltip="Length of the clip in seconds at the preset's frame rate, rounded to 8 frames; 0 "
            "uses frames instead.",
        ),
        times_input(
            "", OWN, "through switches starts a step wherever a schedule changes", placeholder="preset"
        ),
    ]


def network_inputs() -> list[io.Input]:
    """The inputs of the network: rope and context_drop."""
    return [
        io.Combo.Input(
            "rope",
            options=list(ROPES),
            default=AS_TRAINED.rope,
            optional=True,
            tooltip="RoPE scaling for clips larger or longer than the training size. auto changes nothing "
            "up to that size; off disables scaling.",
        ),
        io.Float.Input(
            "context_drop",
            default=AS_TRAINED.context_drop,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            tooltip="Context Drop: until this t, early layers attend to pooled keys and values. Higher is "
            "faster and less exact; typically 0.1, 0 is off.",
        ),
    ]


class MultiScaleSampler(PlanNode):
    """Text-to-video with a preset, from prompts to a LATENT."""

    TITLE = "Lumina Multi-Scale Sampler"
    plan_inputs = (*SCHEDULES, "preset", "width", "height", "frames", "seconds", "points", "solver", "times")

    @classmethod
    def plan_fields(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The plan's fields among the widgets."""
        fields = super().plan_fields(inputs)
        # At 0 this node keeps the Context Drop of an earlier node.
        return {**fields, "context_drop": inputs["context_drop"]} if inputs.get("context_drop") else fields

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "MultiScaleSampler",
            title=cls.TITLE,
            description="All-in-one text-to-video sampler: encodes the prompts, applies the patch, guidance "
            "and motion schedules of a preset, and samples with live previews. Connect LATENT to VAE "
            "Decode, then Create Video and Save Video.",
            aliases=("text to video", "ksampler", "all in one", "t2v", "text to image", "generate video"),
            inputs=[
                *text_inputs(),
                preset_input(),
                *size_inputs(),
                seed_input("the noise"),
                *schedule_inputs(),
                *step_inputs(),
                *network_inputs(),
            ],
            advanced=("solver", "times", "rope", "context_drop"),
            outputs=[
                io.Latent.Output(tooltip="Connect to VAE Decode."),
                io.Float.Output("fps", tooltip="Frame rate of the preset, for Create Video."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        prompt=None,
        negative_prompt=None,
        preset: str | None = None,
        width: int | None = None,
        height: int | None = None,
        frames: int | None = None,
        patch=None,
        guidance=None,
        motion=None,
        negative_motion=None,
        points=None,
        solver=None,
        seconds: float | None = 0.0,
        times=None,
        rope=None,
        context_drop=0.0,
    ):
        if points == 1:
            return "points is 1; enter 0 to use the preset, or at least 2 (1 step)."

        def check():
            plan = preset_plan(
                preset or DEFAULT_PRESET,
                points=points,
                solver=solver,
                context_drop=context_drop,
                patch=patch,
                guidance=guidance,
                motion=motion,
                negative_motion=negative_motion,
                times=times,
                rope=rope,
            )
            if preset is None or width is None or height is None or frames is None or seconds is None:
                return
            latent_size(width, height, clip_frames(preset, frames, seconds)).check_all(plan.patches)

        return first_fault(lambda: check_texts(prompt=prompt, negative_prompt=negative_prompt), check)

    @classmethod
    def execute(
        cls,
        model,
        clip,
        prompt,
        negative_prompt,
        preset,
        width,
        height,
        frames,
        seed,
        seconds=0.0,
        **plan_fields,
    ) -> io.NodeOutput:
        plan = preset_plan(preset, **plan_fields)
        frames = clip_frames(preset, frames, seconds)
        config = model.model.diffusion_model.config
        config.check_size(latent_size(width, height, frames), plan.patches)
        latent = empty_latent(width, height, frames, channels=config.channels)
        positive, cut = encode_text(clip, prompt)
        negative, negative_cut = encode_text(clip, negative_prompt)
        guider = make_guider(
            planned_model(model, plan),
            set_motion(positive, str(plan.motion)),
            set_motion(negative, str(plan.negative_motion)),
            str(plan.guidance),
            plan.renorm,
        )
        latent["samples"] = sample_video(guider, plan, latent, seed)
        cuts = ((cut, "prompt"), (negative_cut, "negative prompt"))
        texts = [cut_message(found, name) for found, name in cuts if found]
        texts += [*unlearned_text(clip, prompt), *unlearned_text(clip, negative_prompt, "negative prompt")]
        text = note(cls.TITLE, texts)
        schedules = {name: str(getattr(plan, name)) for name in SCHEDULES}
        return io.NodeOutput(latent, float(preset_clip(preset).fps), ui=with_schedules(text, **schedules))


def planned_model(model, plan: SamplingPlan):
    """A clone of the MODEL with the patch schedule and network options of ``plan``, and without progress text."""
    # Where the plan has the default, the choice of an earlier Extrapolation or Context Drop node stays.
    chosen = {name: getattr(plan.network, name) for name in ("rope", "context_drop")}
    changes = {name: value for name, value in chosen.items() if value != getattr(AS_TRAINED, name)}
    return with_options(set_network(set_patch_schedule(model, plan.patch), **changes), quiet=True)
