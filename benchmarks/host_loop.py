"""Runs in a host's Python for host_overhead.py: whole runs by the host's nodes and by the core's loop, interleaved."""

import json
import sys
from pathlib import Path

# After the host's own folder, which has modules of the same names.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import comfy.cli_args
import comfy.ldm.modules.attention
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom
import folder_paths
import latent_preview
import torch
from lumina_video_under_test.lumina_core import SamplingPlan, sample
from lumina_video_under_test.lumina_core.checkpoints.video import load_video_model
from lumina_video_under_test.lumina_core.sampling.timesteps import to_sigmas
from lumina_video_under_test.nodes.host.model_patches import guard_first_step, set_patch_schedule
from lumina_video_under_test.nodes.host.run_timer import RunTimer
from lumina_video_under_test.nodes.host.sampling import OfficialNoise, make_guider
from lumina_video_under_test.nodes.host.video_model import load_model
from lumina_video_under_test.nodes.schedules import Guidance, PatchSchedule

import nodes
from benchmarks.common.timing_rounds import TimingRounds

CORE, CUSTOM, PREVIEWS, KSAMPLER = "core loop", "SamplerCustomAdvanced", "with previews", "KSampler"


def main(checkpoint: str, user_folder: str, options: str) -> dict:
    """`options`: JSON of cases (name: plan fields, text lengths), latent size, seed, threads, rounds and tries."""
    given = json.loads(options)
    # Run times are stored there; the user's own stay unchanged.
    folder_paths.set_user_directory(user_folder)
    torch.set_num_threads(given["threads"])
    # Otherwise the host draws no preview of a run.
    comfy.cli_args.args.preview_method = latent_preview.LatentPreviewMethod.NoPreviews
    model = RunTimer("fp32").install(guard_first_step(load_model(checkpoint, torch.float32)))
    network = load_video_model(checkpoint)
    rows = []
    for name, case in given["cases"].items():
        runs = make_runs(model, network, SamplingPlan(**case["plan"]), case["texts"], given)
        kept = {kind: runs[kind] for kind in case["kinds"]}
        error = difference(runs[CUSTOM](), runs[CORE]())
        rounds = given["rounds"]
        timer = TimingRounds.by_cpu_time(rounds) if given["cpu_time"] else TimingRounds(rounds, given["tries"])
        timed = timer.time(kept)
        steps = SamplingPlan(**case["plan"]).steps
        for kind in kept:
            if kind != CORE:
                ratio = timed.ratio(kind, CORE)
                extra = 1000 * (ratio - 1) * timed.median(CORE) / steps
                rows.append({
                    "run": name, "steps": steps, "kind": kind, "ratio": ratio, "extra_ms": extra, "error": error,
                    "core_s": timed.median(CORE), **timed.fields(),
                })  # fmt: skip
    attention = comfy.ldm.modules.attention.optimized_attention.__name__.removeprefix("attention_")
    return {"attention": attention, "torch": torch.__version__, "rows": rows}


def make_runs(model, network, plan: SamplingPlan, lengths: list[int], given: dict) -> dict:
    """Functions without arguments, one per kind; each is a whole run and gives the latents."""
    generator = torch.Generator().manual_seed(given["seed"])
    width = network.config.text_dim
    texts = [torch.randn(1, length, width, generator=generator) for length in lengths]
    positive, negative = ([[text, {}]] for text in texts)
    empty = {"samples": torch.zeros(1, network.config.channels, *given["latent"])}
    noise = OfficialNoise(given["seed"])
    guider = make_guider(
        set_patch_schedule(model, plan.patch), positive, negative, str(plan.guidance), plan.renorm
    )  # fmt: skip
    sigmas, sampler = to_sigmas(plan.grid()), comfy.samplers.sampler_object("euler")
    (patched,) = PatchSchedule.execute(model, str(plan.patch)).result
    (patched,) = Guidance.execute(patched, str(plan.guidance), plan.renorm).result

    def run_core() -> torch.Tensor:
        start = noise.generate_noise(empty)
        return sample(network, start, plan, (texts[0], None), (texts[1], None))

    def run_custom() -> torch.Tensor:
        out = custom.SamplerCustomAdvanced().sample(noise, guider, sampler, sigmas, empty)
        latent = (out.result if hasattr(out, "result") else out)[0]["samples"]
        return model.model.process_latent_in(latent)

    def run_with_previews() -> torch.Tensor:
        before = comfy.cli_args.args.preview_method
        comfy.cli_args.args.preview_method = latent_preview.LatentPreviewMethod.Latent2RGB
        try:
            return run_custom()
        finally:
            comfy.cli_args.args.preview_method = before

    def run_ksampler() -> torch.Tensor:
        (out,) = nodes.common_ksampler(
            patched, given["seed"], plan.steps, 1.0, "euler", "simple", positive, negative, empty
        )  # fmt: skip
        return out["samples"]

    return {CORE: run_core, CUSTOM: run_custom, PREVIEWS: run_with_previews, KSAMPLER: run_ksampler}


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the root mean square of the core's."""
    return float((found - expected).abs().max() / expected.pow(2).mean().sqrt())
