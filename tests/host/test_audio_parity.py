"""Sound in the host equals the core's: features of every kind of VIDEO, latents under every guidance, passes."""

from __future__ import annotations

import pytest
import torch
from reference import distance
from safetensors.torch import load_file

from lumina_core.audio.features import load_feature_encoder
from lumina_core.checkpoints.audio import load_audio_model
from lumina_core.network.audio_conditioning import AudioCondition
from lumina_core.sampling.audio import AudioPlan, sample_audio
from scripts.make_tiny_set import FEATURES_FOLDER, SOUND_MODEL

TOLERANCE = 1e-4
PROMPT, NEGATIVE, SEED = "the sound of a bell", "a drum", 7
PLANS = {
    "both": (AudioPlan(steps=5, time_shift=2.0), True),
    "no negative": (AudioPlan(steps=5), False),
    "video": (AudioPlan(steps=5, text_guidance=0.0), True),
    "text": (AudioPlan(steps=5, video_guidance=0.0), True),
    "none": (AudioPlan(steps=5, video_guidance=0.0, text_guidance=0.0), True),
}


@pytest.fixture(scope="module")
def found(worker, tiny_models, clip, tmp_path_factory) -> tuple[dict, dict]:
    """What the host reports, and its tensors."""
    file = tmp_path_factory.mktemp("sound") / "found.safetensors"
    report = worker("audio.py", tiny_models / SOUND_MODEL, tiny_models / FEATURES_FOLDER, clip, file)
    return report, load_file(file)


@pytest.fixture(scope="module")
def encoder(tiny_models):
    return load_feature_encoder(tiny_models / FEATURES_FOLDER)


@pytest.mark.parametrize("name, part", [("file", ()), ("memory", ()), ("trimmed", (0.5, 1.0)), ("beyond", (0.5,))])
def test_features_of_a_video_are_the_cores(host, found, encoder, clip, name, part):
    report, tensors = found
    if name not in report["seconds"]:
        pytest.skip(f"ComfyUI {host.version} cannot trim a video")
    expected = encoder.file(clip, *part)
    assert report["seconds"][name] == pytest.approx(expected.seconds)
    assert distance(tensors[f"visual {name}"], expected.visual) <= TOLERANCE
    assert distance(tensors[f"sync {name}"], expected.sync) <= TOLERANCE


@pytest.mark.parametrize("name", PLANS)
def test_latents_and_passes_are_the_cores(found, encoder, tiny_models, clip, name):
    report, tensors = found
    plan, with_negative = PLANS[name]
    seen, (texts, masks) = encoder.file(clip), encoder.text([PROMPT, NEGATIVE])
    condition = AudioCondition.of(seen.visual, seen.sync, texts[:1], masks[:1])
    negative = (texts[1:], masks[1:]) if with_negative else None
    model = load_audio_model(tiny_models / SOUND_MODEL)
    shape = (1, model.config.channels, model.config.latent_frames(seen.seconds), model.config.bins)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
    expected = sample_audio(model, noise, plan, condition, negative)
    assert distance(tensors[f"latents {name}"], expected) <= TOLERANCE
    assert report["passes"][name] == plan.passes(condition, negative)


def test_an_attention_of_another_node_runs(found):
    report, _ = found
    assert report["override"]["calls"] > 0 and report["override"]["same"]


def test_after_an_out_of_memory_error_the_rest_of_the_run_takes_one_sample_at_a_time(found):
    report, _ = found
    run = report["oom"]["1"]
    assert run["seen"][0] > 1 and set(run["seen"][1:]) == {1} and len(run["seen"]) == 1 + 3 * run["seen"][0]
    assert run["message"] is None and run["error"] <= TOLERANCE


def test_a_single_sample_that_does_not_fit_is_reported_with_its_length(found):
    report, _ = found
    assert report["oom"]["0"]["seen"][-1] == 1
    assert " s of audio, one sample at a time" in report["oom"]["0"]["message"]
