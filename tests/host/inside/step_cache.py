"""Inside the host: runs with the step cache and with the host's own EasyCache, 8-bit weights, attention overrides."""

import json

import comfy.model_management
import comfy.samplers
import comfy_extras.nodes_easycache as easycache
import folder_paths
import torch
from lumina_video_under_test.lumina_core import LuminaError, SamplingPlan, sample
from lumina_video_under_test.lumina_core.checkpoints.video import load_video_model
from lumina_video_under_test.lumina_core.sampling.timesteps import to_sigmas
from lumina_video_under_test.nodes.host.conditioning import set_motion
from lumina_video_under_test.nodes.host.model_patches import guard_first_step, set_patch_schedule
from lumina_video_under_test.nodes.host.run_timer import RunTimer
from lumina_video_under_test.nodes.host.sampling import OfficialNoise, make_guider
from lumina_video_under_test.nodes.host.solver import solver_sampler
from lumina_video_under_test.nodes.host.step_cache import set_step_cache
from lumina_video_under_test.nodes.host.timing_store import remembered
from lumina_video_under_test.nodes.host.video_model import load_model
from lumina_video_under_test.nodes.step_cache import StepCache

EMPTY = {"samples": torch.zeros(1, 16, 4, 8, 8)}
LENGTHS = (9, 5)


def main(checkpoint: str, user_folder: str, plan: str) -> dict:
    """`plan`: JSON of the fields of a plan with a cache."""
    torch.set_num_threads(1)
    folder_paths.set_user_directory(user_folder)
    plan = SamplingPlan(**json.loads(plan))
    model = RunTimer("fp32").install(guard_first_step(load_model(checkpoint, torch.float32)))
    core = core_run(load_video_model(checkpoint), plan)
    exact, all_calls = host_run(model, plan)
    after_exact = remembered()["runs"]
    cached = set_step_cache(model, plan.cache)
    first, calls = host_run(cached, plan)
    again, _ = host_run(cached, plan)
    return {
        "steps": {"core": core["steps"], "host": steps(calls), "exact": steps(all_calls)},
        "error": largest(first, core["latents"]),
        "exact_error": largest(exact, first),
        "again": bool(torch.equal(first, again)),
        "timings": [after_exact, remembered()["runs"]],
        "kept": kept(model, cached),
        "off": bool(torch.equal(host_run(set_step_cache(cached, 0.0), plan)[0], exact)),
        "replaced": host_run(set_step_cache(set_step_cache(model, 1.0), plan.cache), plan)[1] == calls,
        "samplers": {name: by_sampler(model, plan, name) for name in ("dpmpp_2m", "euler_ancestral", "heun", "rk4")},
        "easycache": easy(model, plan),
        "refused": refused(),
        "fp8": eight_bits(checkpoint, plan),
        "override": override(model, plan),
    }


def texts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, length, 48, generator=generator) for length in LENGTHS]


def core_run(network, plan: SamplingPlan) -> dict:
    """The core's latents, and the steps that it computed."""
    computed: list[int] = []

    def watch(info) -> None:
        if not info.reused:
            computed.append(info.step)

    positive, negative = ((text, None) for text in texts())
    noise = OfficialNoise(7).generate_noise(EMPTY)
    return {"latents": sample(network, noise, plan, positive, negative, on_step=watch), "steps": computed}


def steps(calls: list[int]) -> list[int]:
    """The steps with a call."""
    return [step for step, count in enumerate(calls) if count]


def host_run(model, plan: SamplingPlan, sampler=None) -> tuple[torch.Tensor, list[int]]:
    """The host's latents in the model's scale, and how often each step called the network."""
    positive, negative = ([[text, {}]] for text in texts())
    positive, negative = set_motion(positive, str(plan.motion)), set_motion(negative, str(plan.negative_motion))
    guider = make_guider(set_patch_schedule(model, plan.patch), positive, negative, str(plan.guidance), plan.renorm)
    calls = [0]
    hook = model.model.diffusion_model.layers[0].register_forward_pre_hook(lambda *_: calls.append(calls.pop() + 1))
    try:
        sampler = sampler or comfy.samplers.sampler_object("euler")
        noise = OfficialNoise(7).generate_noise(EMPTY)
        sigmas = to_sigmas(plan.grid())
        result = guider.sample(
            noise, EMPTY["samples"], sampler, sigmas, seed=7, callback=lambda *_: calls.append(0)
        )  # fmt: skip
    finally:
        hook.remove()
    return model.model.process_latent_in(result), calls


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def kept(model, cached) -> list[str]:
    """What of ours a run has left on either MODEL: names of wrapper lists that hold a run's state."""
    options = [m.model_options["transformer_options"].get("wrappers", {}) for m in (model, cached)]
    patched = [m.wrappers.get("predict_noise", {}) for m in (model, cached)]
    return [key for wrappers in options for key in wrappers.get("predict_noise", {})] + [
        key for wrappers in patched for key in wrappers if "cache" in key
    ]


def by_sampler(model, plan: SamplingPlan, name: str) -> dict:
    """Network calls without and with the cache, and whether the latents are the same."""
    sampler = solver_sampler(name) if name == "rk4" else comfy.samplers.sampler_object(name)
    exact, calls = host_run(model, plan, sampler)
    found, fewer = host_run(set_step_cache(model, plan.cache), plan, sampler)
    return {"calls": [sum(calls), sum(fewer)], "same": bool(torch.equal(exact, found)),
            "finite": bool(found.isfinite().all())}  # fmt: skip


def easy(model, plan: SamplingPlan) -> dict:
    """The host's node on our MODEL with our schedules."""
    out = easycache.EasyCacheNode.execute(model, 0.5, 0.1, 0.95, False)
    found, calls = host_run((out.result if hasattr(out, "result") else out)[0], plan)
    return {"steps": len(steps(calls)), "finite": bool(found.isfinite().all())}


def refused() -> str:
    class Other:
        model = torch.nn.Linear(1, 1)

    try:
        StepCache.execute(Other(), 0.1)
    except LuminaError as error:
        return str(error)
    return ""


def eight_bits(checkpoint: str, plan: SamplingPlan) -> dict:
    """Weights as the host stores them in fp8 against the core's after a plain cast, and a run with them."""
    found = {}
    for name in ("float8_e4m3fn", "float8_e5m2"):
        dtype = getattr(torch, name)
        model = load_model(checkpoint, dtype)
        stored = dict(model.model.diffusion_model.named_parameters())
        published = dict(load_video_model(checkpoint).named_parameters())
        latents, _ = host_run(model, plan)
        found[name] = {
            "dtypes": sorted({str(p.dtype) for p in stored.values()}),
            "same": stored.keys() == published.keys()
            and all(torch.equal(p.float(), published[key].to(dtype).float()) for key, p in stored.items()),
            "finite": bool(latents.isfinite().all()),
        }
    return found


def override(model, plan: SamplingPlan) -> dict:
    """Whether an attention that another node puts into transformer_options is the one that runs."""
    calls: list[int] = []

    def ours(original, *args, **kwargs):
        calls.append(args[0].shape[-2])
        return original(*args, **kwargs)

    changed = model.clone()
    changed.model_options["transformer_options"]["optimized_attention_override"] = ours
    same, _ = host_run(changed, plan)
    return {"calls": len(calls), "same": bool(torch.equal(same, host_run(model, plan)[0]))}
