"""Inside a host's Python, for options.py: our MODEL with the host's own EasyCache node, clip by clip."""

import json
from contextlib import contextmanager

import comfy.patcher_extension
import comfy.samplers
import comfy_extras.nodes_easycache as easycache
import torch
from lumina_video_under_test.lumina_core import SamplingPlan
from lumina_video_under_test.lumina_core.sampling.timesteps import to_sigmas
from lumina_video_under_test.nodes.conditioning import set_motion
from lumina_video_under_test.nodes.host.model_patches import set_patch_schedule
from lumina_video_under_test.nodes.host.video_model import load_model
from lumina_video_under_test.nodes.sampling import make_guider
from safetensors.torch import load_file, save_file


def main(checkpoint: str, asked: str, found: str, case: str) -> dict:
    """`case`: JSON of the plan's fields and EasyCache's thresholds. Writes the latents of each threshold to `found`."""
    case, given = json.loads(case), load_file(asked)
    plan, model = SamplingPlan(**case["plan"]), load_model(checkpoint, torch.float32)
    model = set_patch_schedule(model, plan.patch)
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "copy", on_a_copy)
    latents: dict[str, list] = {}
    computed: dict[str, list[list[int]]] = {}
    for threshold in case["thresholds"]:
        name = f"{threshold:g}"
        out = easycache.EasyCacheNode.execute(model, threshold, 0.15, 0.95, False)
        cached = (out.result if hasattr(out, "result") else out)[0]
        latents[name], computed[name] = [], []
        for i, noise in enumerate(given["noise"]):
            positive = [[given["text"][i : i + 1, : given["length"][i]], {}]]
            result, steps = run(cached, plan, positive, [[given["negative"], {}]], noise[None])
            latents[name].append(result)
            computed[name].append(steps)
    save_file({name: torch.cat(clips).contiguous() for name, clips in latents.items()}, found)
    return {"computed": computed}


def on_a_copy(executor, x, *args, **kwargs):
    """EasyCache writes into the x it is given, which in float32 is the sampler's own; in bf16 it is a copy."""
    return executor(x.clone(), *args, **kwargs)


def run(model, plan: SamplingPlan, positive: list, negative: list, noise: torch.Tensor):
    """Latents, and the steps in which the network was called."""
    positive, negative = set_motion(positive, str(plan.motion)), set_motion(negative, str(plan.negative_motion))
    guider = make_guider(model, positive, negative, str(plan.guidance), plan.renorm)
    sampler = comfy.samplers.sampler_object("euler")
    with counted(model.model.diffusion_model) as calls:
        steps: list[int] = []

        def end_step(step, *_):
            if calls:
                steps.append(step)
            calls.clear()

        empty = torch.zeros_like(noise)
        result = guider.sample(noise, empty, sampler, to_sigmas(plan.grid()), callback=end_step, seed=0)
    return model.model.process_latent_in(result), steps


@contextmanager
def counted(network):
    """A list that grows with every call of the network itself."""
    calls: list[int] = []
    hook = network.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        yield calls
    finally:
        hook.remove()
