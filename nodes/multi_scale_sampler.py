"""The one node for beginners: prompt in, latents out, by a preset."""

from __future__ import annotations

import logging

import comfy.model_management
import comfy.sample
import comfy.samplers
import latent_preview
import torch
from comfy_api.latest import io, ui

from ..lumina_core.cost.summary import SCHEDULES
from ..lumina_core.network.forward_options import AS_TRAINED, ROPES
from ..lumina_core.sampling.plan import SamplingPlan
from ..lumina_core.sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..lumina_core.sampling.solvers import SOLVERS
from ..lumina_core.sampling.timesteps import to_sigmas
from .conditioning import cut_message, encode_text, set_motion
from .host.clip_preview import play
from .host.model_patches import set_network, set_patch_schedule
from .host.node_ui import with_schedules
from .host.plain_text import check_texts
from .host.run_timer import show_own_progress
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
from .latents import OfficialNoise, empty_latent
from .names import schema
from .sampling import make_guider
from .solver import SOLVER_TOOLTIP, solver_sampler

OWN = "Empty takes the preset's. "


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
            description="Everything in one node: encodes the prompts, sets patch sizes, guidance and motion scores by "
            "a preset, and samples with live previews. Decode the latent, then Create Video and Save Video.",
            aliases=("text to video", "ksampler", "all in one", "t2v", "text to image", "generate video"),
            inputs=[
                io.Model.Input("model", tooltip="From Load Lumina-Video Model."),
                io.Clip.Input("clip", tooltip="Gemma-2-2B: Load CLIP with type lumina2, or the folder loader."),
                io.String.Input("prompt", multiline=True, dynamic_prompts=True, tooltip="What the clip shows."),
                io.String.Input("negative_prompt", multiline=True, tooltip="What it avoids; may be empty."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=DEFAULT_PRESET,
                    tooltip="Released numbers: f24F96R960 for 960-class at 24 fps, f16F64R512 for 512-class at 16 fps; "
                    "mini for the bundled model. MultiScale costs a third to a half.",
                ),
                *size_inputs(),
                seed_input("the noise"),
                patch_input("", OWN, optional=True, placeholder="preset"),
                guidance_input("", OWN, optional=True, placeholder="preset"),
                motion_input("motion", "", "positive", OWN, optional=True, placeholder="preset"),
                motion_input("negative_motion", "", "negative", OWN, optional=True, placeholder="preset"),
                io.Int.Input(
                    "points", default=0, min=0, max=1000, optional=True, tooltip="Points of the time grid; 0 takes the "
                    "preset's own."
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
                    tooltip="Length of the clip at the preset's rate, to the nearest 8 frames; 0 takes frames.",
                ),
                times_input(
                    "", OWN, "through switches begins a step wherever a schedule changes", placeholder="preset"
                ),
                io.Combo.Input(
                    "rope",
                    options=list(ROPES),
                    default=AS_TRAINED.rope,
                    optional=True,
                    tooltip="How clips larger or longer than those trained on are met; auto changes nothing up to "
                    "that size, off goes on counting.",
                ),
                io.Float.Input(
                    "context_drop",
                    default=AS_TRAINED.context_drop,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="Up to this flow time early layers read pooled keys: faster, not exact; 0 is off.",
                ),
            ],
            outputs=[
                io.Latent.Output(tooltip="For VAE Decode."),
                io.Float.Output("fps", tooltip="The preset's frames per second, for Create Video."),
            ],
        )  # fmt: skip

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
            return "points is 1; write 0 for the preset's, or at least 2 (1 step)."

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
        model = show_own_progress(set_patch_schedule(model, plan.patch))
        # What an Extrapolation or Context Drop node before this one chose stays, where this node says nothing.
        chosen = {name: getattr(plan.network, name) for name in ("rope", "context_drop")}
        model = set_network(model, **{k: v for k, v in chosen.items() if v != getattr(AS_TRAINED, k)})
        positive, cut = encode_text(clip, prompt)
        negative, negative_cut = encode_text(clip, negative_prompt)
        positive, negative = set_motion(positive, str(plan.motion)), set_motion(negative, str(plan.negative_motion))
        guider = make_guider(model, positive, negative, str(plan.guidance), plan.renorm)
        latent["samples"] = run(guider, plan, latent, seed)
        outputs = (latent, float(preset_clip(preset).fps))
        schedules = {name: str(getattr(plan, name)) for name in SCHEDULES}
        cuts = ((cut, "prompt"), (negative_cut, "negative prompt"))
        told = " ".join(cut_message(*each) for each in cuts if each[0])
        if not told:
            return io.NodeOutput(*outputs, ui=with_schedules(**schedules))
        logging.warning("Lumina Multi-Scale Sampler: %s", told)
        return io.NodeOutput(*outputs, ui=with_schedules(ui.PreviewText(told), **schedules))


def run(guider, plan: SamplingPlan, latent: dict, seed: int) -> torch.Tensor:
    """Sample with the host's progress bar, previews and interrupt; returns latents for the VAE."""
    samples = comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"])
    noise = OfficialNoise(seed).generate_noise({"samples": samples})
    callback = play(latent_preview.prepare_callback(guider.model_patcher, plan.steps))
    sampler = comfy.samplers.sampler_object("euler") if plan.solver == "euler" else solver_sampler(plan.solver)
    result = guider.sample(noise, samples, sampler, to_sigmas(plan.grid()), callback=callback, seed=seed)
    return result.to(comfy.model_management.intermediate_device())
