"""Inside the host: what the network is really asked, what nodes leave on a MODEL, and the host's own time grid."""

import json
from pathlib import Path

import comfy.samplers
import comfy_extras.nodes_model_advanced as advanced
import torch
from lumina_video_under_test.lumina_core import PRESETS, SamplingPlan
from lumina_video_under_test.nodes.host.conditioning import set_motion
from lumina_video_under_test.nodes.host.model_patches import guard_first_step, set_patch_schedule
from lumina_video_under_test.nodes.host.sampling import make_guider, sample_video
from lumina_video_under_test.nodes.host.video_model import load_model
from lumina_video_under_test.nodes.names import OPTIONS_KEY
from lumina_video_under_test.nodes.schedules import Guidance, PatchSchedule

import nodes

TEXT_WIDTH = 48


def main(checkpoint: str, cases: str) -> dict:
    """`cases`: a JSON file, a list of {"plan": fields, "dtype", "batch", "lengths"}."""
    torch.set_num_threads(1)
    models, asked = {}, []
    for case in json.loads(Path(cases).read_text(encoding="utf-8")):
        dtype = case["dtype"]
        if dtype not in models:
            models[dtype] = guard_first_step(load_model(checkpoint, getattr(torch, dtype)))
        asked.append(record(models[dtype], **case))
    model = models["float32"]
    return {
        "asked": asked,
        "asked_by_ksampler": {name: record_ksampler(model, name) for name in PRESETS},
        "second_guidance": second_guidance(model),
        "original_untouched": original_untouched(model),
    }


class Recorder:
    """Between `with` and its end, one entry per network call: times, motion scores and patch size, one per item."""

    def __init__(self, model):
        self.network = model.model.diffusion_model
        self.calls = []

    def __enter__(self):
        velocity = self.network.split_velocity

        def record_velocity(x, t, text, motion, patch, *settings, **options):
            call = {"t": t.tolist(), "motion": motion.tolist(), "dtype": str(t.dtype)}
            self.calls.append(call | {"patch": [str(patch)] * len(x)})
            return velocity(x, t, text, motion, patch, *settings, **options)

        self.network.split_velocity = record_velocity
        return self

    def __exit__(self, *_):
        del self.network.split_velocity


def texts(positive: int, negative: int) -> tuple[list, list]:
    """Two conditionings of random features of so many tokens."""
    features = torch.randn(2, 32, TEXT_WIDTH, generator=torch.Generator().manual_seed(1))
    return [[features[:1, :positive], {}]], [[features[1:, :negative], {}]]


def empty(batch: int = 1) -> dict:
    return {"samples": torch.zeros(batch, 16, 4, 8, 8)}


def record(model, plan: dict, batch: int, lengths: list[int], **_) -> list[dict]:
    plan = SamplingPlan(**plan)
    positive, negative = texts(*lengths)
    guider = make_guider(
        set_patch_schedule(model, plan.patch),
        set_motion(positive, str(plan.motion)),
        set_motion(negative, str(plan.negative_motion)),
        str(plan.guidance),
        plan.renorm,
    )
    with Recorder(model) as recorder:
        sample_video(guider, plan, empty(batch), 7)
    return recorder.calls


def record_ksampler(model, preset: str) -> dict:
    """The calls of a plain KSampler with our patches and the host's shift, and its sigmas."""
    plan = PRESETS[preset]
    (patched,) = PatchSchedule.execute(model, str(plan.patch)).result
    (patched,) = Guidance.execute(patched, str(plan.guidance), plan.renorm).result
    (patched,) = advanced.ModelSamplingAuraFlow().patch_aura(patched, plan.time_shift)
    sigmas = comfy.samplers.calculate_sigmas(patched.get_model_object("model_sampling"), "simple", plan.steps)
    positive, negative = texts(9, 5)
    positive, negative = set_motion(positive, str(plan.motion)), set_motion(negative, str(plan.negative_motion))
    with Recorder(model) as recorder:
        nodes.common_ksampler(patched, 7, plan.steps, 1.0, "euler", "simple", positive, negative, empty())
    return {"sigmas": sigmas.tolist(), "calls": recorder.calls}


def ksampler(model, steps: int = 3) -> torch.Tensor:
    (latent,) = nodes.common_ksampler(model, 7, steps, 5.0, "euler", "simple", *texts(9, 5), empty())
    return latent["samples"]


def second_guidance(model) -> dict:
    """A second guidance node against only that one."""
    (first,) = Guidance.execute(model, "20 | 0.2: 0", 0.5).result
    (both,) = Guidance.execute(first, "3 | 0.5: 9", 1.5).result
    (only,) = Guidance.execute(model, "3 | 0.5: 9", 1.5).result
    (off,) = Guidance.execute(first, "3 | 0.5: 9", -1.0).result
    (only_off,) = Guidance.execute(model, "3 | 0.5: 9", -1.0).result
    guider = make_guider(first, *texts(9, 5), "3 | 0.5: 9", 1.5)
    return {
        "replaced": bool(torch.equal(ksampler(both), ksampler(only))),
        "renorm_removed": bool(torch.equal(ksampler(off), ksampler(only_off))),
        "first_differs": not torch.equal(ksampler(first), ksampler(only)),
        "guider_replaces": len(guider.model_options["sampler_post_cfg_function"]),
        "hooks": len(both.model_options["sampler_post_cfg_function"]),
    }


def original_untouched(model) -> dict:
    """Whether a MODEL is as before after nodes have taken it as input."""
    before = ksampler(model)
    calls = dict(model.model_options["transformer_options"])
    (patched,) = PatchSchedule.execute(model, "2x4 | 0.5: 1x2").result
    (again,) = PatchSchedule.execute(patched, "2x2").result
    (patched,) = Guidance.execute(patched, "20 | 0.2: 0", 2.0).result
    guided = ksampler(patched)
    return {
        "same_result": bool(torch.equal(before, ksampler(model))),
        "patched_differs": not torch.equal(before, guided),
        "same_options": model.model_options["transformer_options"] == calls and OPTIONS_KEY not in calls,
        "no_hooks": model.model_options.get("sampler_post_cfg_function", []) == [],
        "clone_keeps_its_own": str(patched.model_options["transformer_options"][OPTIONS_KEY].patch),
        "clone_of_a_clone": str(again.model_options["transformer_options"][OPTIONS_KEY].patch),
    }
