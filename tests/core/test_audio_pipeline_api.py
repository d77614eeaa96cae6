"""LuminaAudioPipeline from Python: parts and whole, many seeds, what stays loaded, arguments that do not fit."""

import numpy as np
import pytest
import torch

import lumina_core.pipelines.audio_stages as module
from lumina_core import LuminaError, SamplingCancelled
from lumina_core.media.writer import write_video
from lumina_core.pipelines.audio import LuminaAudioPipeline
from lumina_core.pipelines.audio_inputs import AudioFiles
from lumina_core.pipelines.base import ProgressObserver
from lumina_core.sampling.audio import AudioPlan
from lumina_core.sampling.step_update import StepUpdate
from scripts.make_tiny_audio import write_audio, write_codec

PLAN = AudioPlan(steps=2, video_guidance=1.0, text_guidance=1.0)
FPS = 8.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_audio(tmp_path_factory.mktemp("audio"), seed=5)


@pytest.fixture
def pipe(folder):
    return LuminaAudioPipeline(AudioFiles.of(folder), device="cpu", keep="all")


@pytest.fixture
def frames():
    clip = torch.zeros(8, 32, 32, 3)
    for number in range(8):
        clip[number, 8:16, 3 * number : 3 * number + 8] = 1
    return clip


@pytest.fixture
def loads(monkeypatch):
    """Names of the loaders that were called, in order."""
    called = []

    def count(name):
        load = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: called.append(name) or load(*given))

    for name in ("load_audio_codec", "load_feature_encoder", "load_audio_model"):
        count(name)
    return called


def test_the_call_is_its_parts(pipe, frames):
    out = pipe(frames=frames, fps=FPS, prompt="a bell", negative_prompt="wood", plan=PLAN, seed=3)
    features = pipe.encode_video(frames=frames, fps=FPS)
    prompt = pipe.encode_prompt("a bell", "wood")
    latents = pipe.denoise(pipe.prepare_latents(features.seconds, [3]), features, prompt, PLAN)
    assert torch.equal(out.latents, latents) and latents.shape == (1, 4, 26, 16)
    assert torch.equal(out.waveform, pipe.decode(latents, features.seconds))
    assert out.waveform.shape == (1, 16000) and out.sample_rate == pipe.sample_rate == 16000
    assert (out.nfe, out.passes, out.silent, out.seeds) == (2, 6, False, (3,))


def test_several_prompts_are_those_of_single_calls(pipe, frames):
    call = {"frames": frames, "fps": FPS, "plan": PLAN}
    out = pipe(prompt=["a bell", ""], negative_prompt=["wood", ""], seed=[3, 4], **call)
    alone = pipe(prompt="a bell", negative_prompt="wood", seed=3, **call), pipe(seed=4, **call)
    assert all(torch.equal(both[None], one.waveform) for both, one in zip(out.waveform, alone, strict=True))
    assert out.seeds == (3, 4) and out.passes == sum(one.passes for one in alone) and out.nfe == 4
    with pytest.raises(LuminaError) as caught:
        pipe(prompt=["a bell", ""], negative_prompt=["wood"], **call)
    assert caught.value.field == "negative_prompt"
    with pytest.raises(LuminaError) as caught:
        pipe.denoise(out.latents, pipe.encode_video(frames=frames, fps=FPS), [pipe.encode_prompt("a bell")], PLAN)
    assert caught.value.field == "latents"


def test_the_callback_of_diffusers_sees_tensors_and_can_cancel(pipe, frames):
    seen = []
    pipe(frames=frames, fps=FPS, plan=PLAN, callback_on_step_end=lambda *given: seen.append(given))
    assert [given[:3] for given in seen] == [(pipe, 0, 0.0), (pipe, 1, 0.5)]
    assert set(seen[0][3]) == {"latents", "denoised"}
    with pytest.raises(SamplingCancelled):
        pipe(frames=frames, fps=FPS, plan=PLAN, callback_on_step_end=lambda *given: False)


@pytest.mark.slow
def test_several_seeds_are_those_of_single_calls_and_files_are_read_once(folder, frames, loads):
    pipe = LuminaAudioPipeline(AudioFiles.of(folder), device="cpu")
    out = pipe(frames=frames, fps=FPS, prompt="a bell", plan=PLAN, seed=[7, 1, 7])
    assert loads == ["load_audio_codec", "load_feature_encoder", "load_audio_model"] and pipe.loaded == ()
    assert out.waveform.shape == (3, 16000) and out.seeds == (7, 1, 7) and (out.nfe, out.passes) == (6, 18)
    assert torch.equal(out.waveform[0], out.waveform[2]) and not torch.equal(out.waveform[0], out.waveform[1])
    for seed, waveform in zip(out.seeds, out.waveform, strict=True):
        alone = pipe(frames=frames, fps=FPS, prompt="a bell", plan=PLAN, seed=seed)
        assert torch.equal(alone.waveform[0], waveform)


def test_keep_all_reads_each_file_once_for_all_calls_until_unload(pipe, frames, loads):
    for seed in range(2):
        pipe(frames=frames, fps=FPS, plan=PLAN, seed=seed)
    assert sorted(loads) == ["load_audio_codec", "load_audio_model", "load_feature_encoder"]
    pipe.unload()
    pipe(frames=frames, fps=FPS, plan=PLAN)
    assert len(loads) == 6


@pytest.mark.slow
def test_features_and_prompt_are_encoded_once_for_many_calls(folder, frames, loads, tmp_path):
    pipe = LuminaAudioPipeline.from_files(*vars(AudioFiles.of(folder)).values(), device="cpu")
    with pipe.feature_encoder():
        features = pipe.encode_video(frames=frames, fps=FPS)
        prompt = pipe.encode_prompt("a bell", "wood")
    assert loads == ["load_feature_encoder"]
    found = pipe(features=features, prompt=prompt, plan=PLAN)
    assert loads == ["load_feature_encoder", "load_audio_codec", "load_audio_model"]
    wanted = pipe(frames=frames, fps=FPS, prompt="a bell", negative_prompt="wood", plan=PLAN)
    assert torch.equal(found.waveform, wanted.waveform)
    # A file of the same length may come with features of it.
    video = write_video(tmp_path / "clip.mp4", frames, FPS).path
    assert torch.equal(pipe(video=video, features=features, prompt=prompt, plan=PLAN).waveform, found.waveform)


def test_noise_comes_from_seed_generator_or_latents(pipe, frames):
    def run(**noise):
        return pipe(frames=frames, fps=FPS, plan=PLAN, output_type="latent", **noise).latents

    wanted = run(seed=4)
    assert torch.equal(run(generator=torch.Generator().manual_seed(4)), wanted)
    assert torch.equal(run(latents=pipe.prepare_latents(1.0, [4])), wanted)
    assert not torch.equal(run(seed=5), wanted)


def test_outputs_in_each_type(pipe, frames):
    tensor = pipe(frames=frames, fps=FPS, plan=PLAN)
    array = pipe(frames=frames, fps=FPS, plan=PLAN, output_type="np").waveform
    assert isinstance(array, np.ndarray) and np.array_equal(array, tensor.waveform.numpy())
    latent = pipe(frames=frames, fps=FPS, plan=PLAN, output_type="latent")
    assert latent.waveform is None and torch.equal(latent.latents, tensor.latents)


def test_an_observer_written_to_the_annotation_and_a_function_see_every_step(pipe, frames):
    class Seen(ProgressObserver):
        def __init__(self):
            self.costs, self.steps, self.closed = [], [], 0

        def sampling(self, costs):
            self.costs.append(list(costs))

        def step(self, update: StepUpdate):
            self.steps.append((update.step, update.steps, update.t, update.evaluation))
            assert update.latents.shape == update.denoised.shape == (1, 4, 26, 16)

        def close(self):
            self.closed += 1

    seen, steps = Seen(), []
    pipe(frames=frames, fps=FPS, plan=PLAN, seed=[0, 1], callback=seen)
    assert seen.costs == [[1, 1], [1, 1]] and seen.closed == 2
    assert seen.steps == [(0, 2, 0.0, None), (1, 2, 0.5, None)] * 2
    pipe(frames=frames, fps=FPS, plan=PLAN, callback=lambda update: steps.append(update.step))
    assert steps == [0, 1]
    with pytest.raises(SamplingCancelled):
        pipe(frames=frames, fps=FPS, plan=PLAN, callback=lambda update: False)


def test_loudness_is_that_of_each_waveform_and_silence_is_reported(pipe, frames, monkeypatch):
    both = pipe(frames=frames, fps=FPS, plan=PLAN, seed=[0, 1], loudness=-30.0).waveform
    assert torch.allclose(both[1:], pipe(frames=frames, fps=FPS, plan=PLAN, seed=1, loudness=-30.0).waveform)
    heard = iter([torch.zeros(1, 16000), both[:1]])
    monkeypatch.setattr(module, "decode", lambda codec, latents, seconds: next(heard))
    out = pipe(frames=frames, fps=FPS, plan=PLAN, seed=[0, 1], loudness=-20.0)
    assert out.silent and not out.waveform[0].any() and out.waveform[1].abs().max() > both.abs().max()


def test_the_shipped_bundle_and_one_without_audio(tmp_path):
    assert LuminaAudioPipeline.from_bundle("mini", device="cpu").config.channels > 0
    with pytest.raises(LuminaError) as caught:
        LuminaAudioPipeline.from_bundle("absent")
    assert "absent" in str(caught.value)


def test_a_codec_of_another_model_is_refused_at_construction(folder, tmp_path):
    write_codec(tmp_path / "eight", 1, channels=8)
    files = AudioFiles.of(folder)
    with pytest.raises(LuminaError) as caught:
        LuminaAudioPipeline.from_files(files.model, files.features, tmp_path / "eight")
    assert (caught.value.field, caught.value.kind) == ("codec", "mismatch")


CLIP = torch.rand(8, 16, 16, 3)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"frames": None}, "video"),
        ({"video": "clip.mp4"}, "video"),
        ({"fps": None}, "fps"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": []}, "seed"),
        ({"output_type": "pil"}, "output_type"),
        ({"callback": 3}, "callback"),
        ({"latents": torch.zeros(1, 4, 24, 16)}, "latents"),
        ({"latents": torch.zeros(2, 4, 26, 16)}, "latents"),
        ({"generator": [torch.Generator()] * 2}, "generator"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_loaded(pipe, loads, changes, field):
    with pytest.raises(LuminaError) as caught:
        pipe(**{"frames": CLIP, "fps": FPS, "plan": PLAN} | changes)
    assert caught.value.field == field and loads == []


def test_features_of_another_clip_and_half_an_encoded_prompt_are_refused(pipe, frames):
    features = pipe.encode_video(frames=frames, fps=FPS)
    with pytest.raises(LuminaError) as caught:
        pipe(frames=frames, fps=2 * FPS, features=features)
    assert (caught.value.field, caught.value.kind) == ("features", "mismatch")
    with pytest.raises(LuminaError) as caught:
        pipe(features=features, prompt=pipe.encode_prompt("a bell"), negative_prompt="wood")
    assert caught.value.field == "negative_prompt"


def test_files_that_are_missing_or_names_that_are_unknown(folder, tmp_path):
    files = AudioFiles.of(folder)
    with pytest.raises(LuminaError):
        LuminaAudioPipeline.from_files(tmp_path / "absent", files.features, files.codec)
    with pytest.raises(LuminaError) as caught:
        LuminaAudioPipeline(files, keep="two")
    assert caught.value.field == "keep"
