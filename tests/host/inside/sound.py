"""Inside the host: features of every kind of VIDEO, and latents that the host's sampler makes of them."""

import io
from pathlib import Path

import comfy.model_management
import torch
from comfy_api.latest import InputImpl
from lumina_video_under_test.lumina_core.audio_sampler import SoundPlan
from lumina_video_under_test.nodes.fields import ABSENT
from lumina_video_under_test.nodes.sound_clip import clip_features
from lumina_video_under_test.nodes.sound_conditioning import empty_sound, sound_conditioning
from lumina_video_under_test.nodes.sound_model import load_sound, sound_config
from lumina_video_under_test.nodes.sound_parts import HostFeatures
from lumina_video_under_test.nodes.sound_sampling import TwoScaleGuider, run
from safetensors.torch import save_file

PROMPT, NEGATIVE, SEED = "the sound of a bell", "a drum", 7
PLANS = {
    "both": (SoundPlan(steps=5, time_shift=2.0), NEGATIVE),
    "no negative": (SoundPlan(steps=5), ""),
    "video": (SoundPlan(steps=5, text_guidance=0.0), NEGATIVE),
    "text": (SoundPlan(steps=5, video_guidance=0.0), NEGATIVE),
    "none": (SoundPlan(steps=5, video_guidance=0.0, text_guidance=0.0), NEGATIVE),
}


def main(model_file: str, features_folder: str, clip: str, outputs: str) -> dict:
    features, model = HostFeatures(features_folder), load_sound(model_file, torch.float32)
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
        positive, negative, seconds, _ = sound_conditioning(
            features, PROMPT, negative_prompt, 1.0, ABSENT, videos["file"]
        )
        latent = empty_sound(seconds, 1, sound_config(model))
        guider = TwoScaleGuider(model, positive, negative, plan)
        results[f"latents {name}"] = run(guider, plan, latent, SEED)
        report["passes"][name] = count_passes(model, positive, negative, plan, latent)
    save_file({name: value.contiguous().clone() for name, value in results.items()}, outputs)
    return report


def count_passes(model, positive: list, negative: list, plan: SoundPlan, latent: dict) -> int:
    """Items that the network saw."""
    network, seen = model.get_model_object("diffusion_model"), []
    hook = network.x_embedder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    try:
        run(TwoScaleGuider(model, positive, negative, plan), plan, latent, SEED)
    finally:
        hook.remove()
    return sum(seen)
