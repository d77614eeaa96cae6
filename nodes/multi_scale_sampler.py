"""The one node for beginners: prompt in, latents out, by a preset."""

from __future__ import annotations

import logging

from comfy_api.latest import io, ui

from ..lumina_core.cost.summary import SCHEDULES
from ..lumina_core.network.forward_options import AS_TRAINED, ROPES
from ..lumina_core.sampling.plan import SamplingPlan
from ..lumina_core.sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..lumina_core.sampling.solvers import SOLVERS
from .conditioning import cut_message, encode_text
from .host.conditioning import set_motion
from .host.model_patches import set_network, set_patch_schedule
from .host.node_ui import with_schedules
from .host.plain_text import check_texts
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
from .solver import SOLVER_TOOLTIP

OWN = "Leave empty to use the preset. "


def make_plan(preset: str, points: int, solver: str, context_drop: float = 0.0, **texts: str | None) -> SamplingPlan:
    """The preset with every text that is not blank, and points above 0, in place of its own; raises LuminaError."""
    changes = {name: text for name, text in texts.items() if text and text.strip()}
    if points:
        changes["points"] = points
    return PRESETS[preset].replace(solver=solver, context_drop=context_drop, **changes)


class MultiScaleSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "MultiScaleSampler",
            title="Lumina Multi-Scale Sampler",
            description="All-in-one text-to-video sampler: encodes the prompts, applies the patch, guidance "
            "and motion schedules of a preset, and samples with live previews. Connect LATENT to VAE "
            "Decode, then Create Video and Save Video.",
            aliases=("text to video", "ksampler", "all in one", "t2v", "text to image", "generate video"),
            inputs=[
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
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=DEFAULT_PRESET,
                    tooltip="Sampling settings as released: f24F96R960 for the 960-class model at 24 fps, "
                    "f16F64R512 for the 512-class model at 16 fps, mini for the bundled model. MultiScale presets "
                    "need a third to a half of the compute.",
                ),
                *size_inputs(),
                seed_input("the noise"),
                patch_input("", OWN, optional=True, placeholder="preset"),
                guidance_input("", OWN, optional=True, placeholder="preset"),
                motion_input("motion", "", "positive", OWN, optional=True, placeholder="preset"),
                motion_input("negative_motion", "", "negative", OWN, optional=True, placeholder="preset"),
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
            ],
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
        preset=None,
        width=None,
        height=None,
        frames=None,
        patch=None,
        guidance=None,
        motion=None,
        negative_motion=None,
        points=None,
        solver=None,
        seconds=0.0,
        times=None,
        rope=None,
        context_drop=0.0,
    ):
        if points == 1:
            return "points is 1; enter 0 to use the preset, or at least 2 (1 step)."

        def check():
            plan = make_plan(
                preset or DEFAULT_PRESET,
                points or 0,
                solver or "euler",
                context_drop or 0.0,
                patch=patch,
                guidance=guidance,
                motion=motion,
                negative_motion=negative_motion,
                times=times,
                rope=rope,
            )
            if None not in (preset, width, height, frames, seconds):
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
        patch="",
        guidance="",
        motion="",
        negative_motion="",
        points=0,
        solver="euler",
        seconds=0.0,
        times="",
        rope=AS_TRAINED.rope,
        context_drop=AS_TRAINED.context_drop,
    ) -> io.NodeOutput:
        frames = clip_frames(preset, frames, seconds)
        plan = make_plan(
            preset,
            points,
            solver,
            context_drop,
            patch=patch,
            guidance=guidance,
            motion=motion,
            negative_motion=negative_motion,
            times=times,
            rope=rope,
        )
        config = model.model.diffusion_model.config
        config.check_size(latent_size(width, height, frames), plan.patches)
        latent = empty_latent(width, height, frames, channels=config.channels)
        model = with_options(set_patch_schedule(model, plan.patch), quiet=True)
        # What an Extrapolation or Context Drop node before this one chose stays, where this node says nothing.
        chosen = {name: getattr(plan.network, name) for name in ("rope", "context_drop")}
        model = set_network(model, **{k: v for k, v in chosen.items() if v != getattr(AS_TRAINED, k)})
        positive, cut = encode_text(clip, prompt)
        negative, negative_cut = encode_text(clip, negative_prompt)
        positive, negative = set_motion(positive, str(plan.motion)), set_motion(negative, str(plan.negative_motion))
        guider = make_guider(model, positive, negative, str(plan.guidance), plan.renorm)
        latent["samples"] = sample_video(guider, plan, latent, seed)
        outputs = (latent, float(preset_clip(preset).fps))
        schedules = {name: str(getattr(plan, name)) for name in SCHEDULES}
        cuts = ((cut, "prompt"), (negative_cut, "negative prompt"))
        told = " ".join(cut_message(*each) for each in cuts if each[0])
        if not told:
            return io.NodeOutput(*outputs, ui=with_schedules(**schedules))
        logging.warning("Lumina Multi-Scale Sampler: %s", told)
        return io.NodeOutput(*outputs, ui=with_schedules(ui.PreviewText(told), **schedules))
