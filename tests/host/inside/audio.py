"""Inside the host: features of every kind of VIDEO, and latents that the host's sampler makes of them."""

import io
from pathlib import Path

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
    save_file({name: value.contiguous().clone() for name, value in results.items()}, outputs)
    return report


def count_passes(model, positive: list, negative: list, plan: AudioPlan, latent: dict) -> int:
    """Items that the network saw."""
    network, seen = model.get_model_object("diffusion_model"), []
    hook = network.x_embedder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    try:
        sample_audio(TwoScaleGuider(model, positive, negative, plan), plan, latent, SEED)
    finally:
        hook.remove()
    return sum(seen)
