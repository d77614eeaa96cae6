"""Inside the host: features of every kind of VIDEO, and latents that the host's sampler makes of them."""

import io
from pathlib import Path
from unittest.mock import patch

import comfy.model_management
import torch
from comfy_api.latest import InputImpl
from lumina_video_under_test.lumina_core.sampling.audio import AudioPlan
from lumina_video_under_test.nodes.audio_conditioning import audio_conditioning, empty_audio
from lumina_video_under_test.nodes.audio_inputs import clip_features
from lumina_video_under_test.nodes.host.audio_guider import TwoScaleGuider
from lumina_video_under_test.nodes.host.audio_model import audio_model_config, load_audio
from lumina_video_under_test.nodes.host.audio_parts import HostFeatures
from lumina_video_under_test.nodes.host.sampling import sample_audio
from lumina_video_under_test.nodes.inputs import ABSENT
from safetensors.torch import save_file

PROMPT, NEGATIVE, SEED = "the sound of a bell", "a drum", 7
PLANS = {
    "both": (AudioPlan(steps=5, time_shift=2.0), NEGATIVE),
    "no negative": (AudioPlan(steps=5), ""),
    "video": (AudioPlan(steps=5, text_guidance=0.0), NEGATIVE),
    "text": (AudioPlan(steps=5, video_guidance=0.0), NEGATIVE),
    "none": (AudioPlan(steps=5, video_guidance=0.0, text_guidance=0.0), NEGATIVE),
}


def main(model_file: str, features_folder: str, clip: str, outputs: str) -> dict:
    features, model = HostFeatures(features_folder), load_audio(model_file, torch.float32)
    results, report = {}, {"seconds": {}, "passes": {}}
    videos = {
        "file": InputImpl.VideoFromFile(clip),
        "memory": InputImpl.VideoFromFile(io.BytesIO(Path(clip).read_bytes())),
    }
    if hasattr(videos["file"], "as_trimmed"):
        videos["trimmed"] = videos["file"].as_trimmed(0.5, 1.0, strict_duration=True)
        videos["beyond"] = InputImpl.VideoFromFile(clip, start_time=0.5, duration=9.0)
    for name, video in videos.items():
        found, _ = clip_features(features, 1.0, ABSENT, video)
        results[f"visual {name}"], results[f"sync {name}"] = found.visual, found.sync
        report["seconds"][name] = found.seconds
    for name, (plan, negative_prompt) in PLANS.items():
        comfy.model_management.unload_all_models()
        positive, negative, seconds, _ = audio_conditioning(
            features, PROMPT, negative_prompt, 1.0, ABSENT, videos["file"]
        )
        latent = empty_audio(seconds, 1, audio_model_config(model))
        guider = TwoScaleGuider(model, positive, negative, plan)
        results[f"latents {name}"] = sample_audio(guider, plan, latent, SEED)
        report["passes"][name] = count_passes(model, positive, negative, plan, latent)
    positive, negative, seconds, _ = audio_conditioning(features, PROMPT, NEGATIVE, 1.0, ABSENT, videos["file"])
    run = (positive, negative, AudioPlan(steps=3), empty_audio(seconds, 1, audio_model_config(model)))
    report["override"] = override(model, *run)
    report["oom"] = {limit: out_of_memory(model, limit, *run) for limit in (0, 1)}
    save_file({name: value.contiguous().clone() for name, value in results.items()}, outputs)
    return report


def override(model, positive: list, negative: list, plan: AudioPlan, latent: dict) -> dict:
    """Calls of an attention that another node puts into transformer_options, and whether the result stays the same."""
    calls = []

    def counted(original, *args, **kwargs):
        calls.append(args[0].shape)
        return original(*args, **kwargs)

    changed = model.clone()
    changed.model_options["transformer_options"]["optimized_attention_override"] = counted
    plain, found = (
        sample_audio(TwoScaleGuider(each, positive, negative, plan), plan, latent, SEED) for each in (model, changed)
    )
    return {"calls": len(calls), "same": bool(torch.equal(plain, found))}


def out_of_memory(model, limit: int, positive: list, negative: list, plan: AudioPlan, latent: dict) -> dict:
    """A run on a device that holds ``limit`` samples at once."""
    network, seen = model.get_model_object("diffusion_model"), []
    expected = sample_audio(TwoScaleGuider(model, positive, negative, plan), plan, latent, SEED)
    inner = network._run

    def run(x, *rest):
        seen.append(len(x))
        if len(x) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return inner(x, *rest)

    found, message = None, None
    with patch.object(network, "_run", run):
        try:
            found = sample_audio(TwoScaleGuider(model, positive, negative, plan), plan, latent, SEED)
        except torch.OutOfMemoryError as error:
            message = str(error)
    return {"seen": seen, "message": message, "error": None if found is None else float((found - expected).abs().max())}


def count_passes(model, positive: list, negative: list, plan: AudioPlan, latent: dict) -> int:
    """Items that the network saw."""
    network, seen = model.get_model_object("diffusion_model"), []
    hook = network.x_embedder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    try:
        sample_audio(TwoScaleGuider(model, positive, negative, plan), plan, latent, SEED)
    finally:
        hook.remove()
    return sum(seen)
