"""The pipeline as a Python user calls it: what it returns, what it reads, and that parts and whole agree."""

from __future__ import annotations

import inspect

import numpy
import pytest
import torch
from generate_case import CALL, PLAN, small_pipeline
from PIL import Image

from lumina_core import LuminaError, LuminaVideoPipeline, ProgressObserver, SamplingCancelled, VideoSize
from lumina_core.checkpoints import video as checkpoints
from lumina_core.media.reader import probe
from lumina_core.pipelines import video_stages as pipeline
from lumina_core.pipelines.video_job import VideoCall
from lumina_core.sampling.presets import PRESETS

SHORT = PLAN.replace(points=4)
QUICK = {**CALL, "size": VideoSize(32, 32, 8), "plan": SHORT}
LOADERS = ("load_text_encoder", "load_video_model", "load_video_vae")


@pytest.fixture(scope="module")
def pipe(tiny_set) -> LuminaVideoPipeline:
    """With every network in memory, for tests that only call it."""
    return small_pipeline(tiny_set, keep="all")


@pytest.fixture
def reads(monkeypatch):
    """Names of the loaders in the order of their calls."""
    seen = []
    for name in LOADERS:
        original = getattr(pipeline, name)
        monkeypatch.setattr(pipeline, name, lambda *a, _n=name, _f=original: seen.append(_n) or _f(*a))
    return seen


def test_the_lines_of_the_readme_make_a_clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from lumina_core import LuminaVideoPipeline
    from lumina_core.media import write_video

    pipe = LuminaVideoPipeline.from_bundle("mini")
    plan = PRESETS["mini-MultiScale"].replace(points=3)  # the README leaves the plan out
    clip = pipe("a red circle moves to the right on a white background", seed=0, plan=plan)
    write_video("clip.mp4", clip.frames[0], clip.fps)
    assert clip.frames.shape == (1, 32, 64, 64, 3) and clip.frames.dtype == torch.float32
    assert 0 <= clip.frames.min() and clip.frames.max() <= 1
    assert (clip.fps, clip.nfe, clip.reused, clip.seeds) == (8, 2, 0, (0,))
    assert probe("clip.mp4").seconds == pytest.approx(4, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("keep, first, second", [("one", 3, 6), ("all", 3, 3)])
def test_weights_are_read_once_for_many_prompts_and_seeds(tiny_set, reads, keep, first, second):
    pipe = small_pipeline(tiny_set, keep=keep)
    assert reads == [] and pipe.loaded == ()
    clip = pipe(**{**QUICK, "prompt": ["a cat", "a dog"]}, videos_per_prompt=2, image=torch.rand(32, 32, 3))
    assert len(clip.frames) == 4 and sorted(reads) == sorted(LOADERS)
    assert len(reads) == first and set(pipe.loaded) == (set() if keep == "one" else {"VAE", "text encoder", "network"})
    pipe(**QUICK)
    assert len(reads) == second
    pipe.unload()
    assert pipe.loaded == ()


def test_a_clip_does_not_depend_on_the_others_of_its_call(pipe):
    prompts = ["a cat", "a dog and a much longer prompt about the sea"]
    both = pipe(**{**QUICK, "prompt": prompts}, seed=5, videos_per_prompt=2)
    assert both.seeds == (5, 6, 5, 6)
    together = pipe(**{**QUICK, "prompt": prompts}, seed=[5, 6, 5, 6], videos_per_prompt=2, batch_size=3)
    for index, (prompt, seed) in enumerate([(prompts[0], 5), (prompts[0], 6), (prompts[1], 5), (prompts[1], 6)]):
        alone = pipe(**{**QUICK, "prompt": prompt}, seed=seed)
        assert torch.equal(alone.latents[0], both.latents[index])
        torch.testing.assert_close(alone.latents[0], together.latents[index], atol=1e-4, rtol=0)
    assert both.nfe == together.nfe == 4 * alone.nfe and both.passes == together.passes == 4 * alone.passes


def test_seeds_of_one_prompt_are_one_clip_each(pipe):
    clips = pipe(**QUICK, seed=[9, 2])
    assert clips.seeds == (9, 2) and len(clips.frames) == 2
    assert torch.equal(clips.latents[1:], pipe(**QUICK, seed=2).latents)


def test_a_generator_draws_what_a_seed_draws(pipe):
    given = pipe(**QUICK, generator=torch.Generator().manual_seed(3), output_type="latent")
    assert given.frames is None and torch.equal(given.latents, pipe(**QUICK, seed=3).latents)
    each = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    several = pipe(**QUICK, generator=each, videos_per_prompt=2, output_type="latent")
    assert torch.equal(several.latents, pipe(**QUICK, seed=1, videos_per_prompt=2).latents)


def test_noise_can_be_given(pipe):
    noise = pipe.prepare_latents(QUICK["size"], seeds=[7])
    assert torch.equal(pipe(**QUICK, latents=noise).latents, pipe(**QUICK, seed=7).latents)


def test_a_draft_is_refined_to_the_whole_run(pipe):
    whole = pipe(**QUICK, seed=[1, 2])
    draft = pipe(**QUICK, seed=[1, 2], stop=1)
    assert draft.frames.shape == whole.frames.shape and draft.nfe == 2 and not torch.equal(draft.latents, whole.latents)
    refined = pipe(**QUICK, latents=draft.latents, start=1)
    assert torch.equal(refined.latents, whole.latents) and draft.nfe + refined.nfe == whole.nfe
    assert torch.equal(pipe(**QUICK, latents=draft.latents[1:], start=1).latents, whole.latents[1:])


def test_a_draft_of_a_clip_with_given_frames_is_refined_as_well(pipe):
    image = torch.rand(32, 32, 3)
    draft = pipe(**QUICK, image=image, stop=1)
    refined = pipe(**QUICK, image=image, latents=draft.latents, start=1)
    torch.testing.assert_close(refined.latents, pipe(**QUICK, image=image).latents, atol=1e-5, rtol=0)


def test_image_to_video_holds_the_image(pipe):
    image = torch.rand(32, 32, 3)
    clip = pipe(**QUICK, image=image, seed=[0, 1])
    given = pipe.encode_frames(image.expand(8, -1, -1, -1))[:, :, :1]
    for latents in clip.latents:
        torch.testing.assert_close(latents[None, :, :1], given, atol=1e-4, rtol=0)
    assert not torch.allclose(clip.latents[0, :, 1], clip.latents[1, :, 1], atol=0.1)


def test_a_continuation_begins_with_the_given_frames(pipe):
    call = {**QUICK, "size": VideoSize(32, 32, 16)}
    last = torch.rand(8, 32, 32, 3)
    clip = pipe(**call, image=last)
    torch.testing.assert_close(clip.latents[:, :, :2], pipe.encode_frames(last), atol=1e-4, rtol=0)
    moved = pipe(**call, image=last, hold=0.0)
    assert not torch.allclose(clip.latents[:, :, 2:], moved.latents[:, :, 2:], atol=1e-2), "hold changes nothing"


def test_video_to_video_runs_the_share_of_steps_that_is_asked_for(pipe):
    video, call = torch.rand(8, 32, 32, 3), {**QUICK, "plan": PLAN}
    source = pipe.encode_frames(video)
    changes = []
    for strength, steps in ((0.2, 1), (0.6, 3), (1.0, 5)):
        clip = pipe(**call, video=video, strength=strength)
        assert clip.nfe == steps and clip.frames.shape == (1, 8, 32, 32, 3)
        changes.append(float((clip.latents - source).square().mean()))
    assert changes == sorted(changes)
    assert pipe(**call, video=video).nfe == 2, "without a strength, half of the 5 steps run"
    # At full strength nothing is left of the video.
    assert torch.equal(clip.latents, pipe(**call).latents)


@pytest.mark.parametrize("kind", ["tensor", "bytes", "array", "pil", "list"])
def test_images_of_any_kind(pipe, kind):
    pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
    image = {
        "tensor": pixels.float() / 255,
        "bytes": pixels,
        "array": pixels.numpy(),
        "pil": Image.fromarray(pixels.numpy()),
        "list": [Image.fromarray(pixels.numpy())],
    }[kind]
    job = pipe.prepare(**QUICK, image=image)
    torch.testing.assert_close(job.images, pixels[None].float() / 255)


def test_an_image_of_another_size_is_cropped_and_resized_and_this_is_noted(pipe):
    image = torch.zeros(64, 128, 3)
    image[:, 32:96, 0] = 1  # only the middle, which the crop keeps, is red
    job = pipe.prepare(**QUICK, image=image)
    assert job.images.shape == (1, 32, 32, 3) and job.images[..., 0].min() > 0.9
    assert job.notes == ("The image is 128x64 and is cropped and resized to the clip's 32x32.",)


def test_output_types(pipe):
    tensors = pipe(**QUICK)
    arrays, images = pipe(**QUICK, output_type="np"), pipe(**QUICK, output_type="pil")
    assert isinstance(arrays.frames, numpy.ndarray) and numpy.array_equal(arrays.frames, tensors.frames.numpy())
    assert len(images.frames) == 1 and len(images.frames[0]) == 8 and images.frames[0][0].size == (32, 32)


class Everything(ProgressObserver):
    """Notes what it hears."""

    def __init__(self):
        self.heard = []

    def stage(self, text):
        self.heard.append(text)

    def sampling(self, costs):
        self.heard.append(("sampling", len(costs), sum(cost > 0 for cost in costs)))

    def step(self, update):
        self.heard.append(("step", update.step, round(update.t, 3), str(update.evaluation.patch)))

    def frames(self, frames):
        self.heard.append(("frames", len(frames)))

    def close(self):
        self.heard.append("close")


def test_an_observer_hears_every_stage_in_order(tiny_set):
    seen = Everything()
    small_pipeline(tiny_set)(**QUICK, seed=[0, 1], stop=2, callback=seen)
    steps = [("sampling", 3, 2), ("step", 0, 0.0, "2x4"), ("step", 1, 0.333, "2x2"), "close"]
    assert seen.heard == [
        "reading the VAE", "encoding the prompts", "reading the network",
        "sampling clip 1 of 2", *steps, "sampling clip 2 of 2", *steps, "decoding", ("frames", 8), ("frames", 8),
    ]  # fmt: skip


def test_callbacks_see_steps_and_can_cancel(pipe):
    seen = []
    pipe(**QUICK, callback=lambda update: seen.append(update.step))
    assert seen == [0, 1, 2]

    def step_end(given, step, t, tensors):
        assert given is pipe and tensors["latents"].shape == tensors["denoised"].shape
        seen.append((step, round(t, 3)))
        return False if step == 1 else tensors

    with pytest.raises(SamplingCancelled):
        pipe(**QUICK, callback_on_step_end=step_end)
    assert seen[3:] == [(0, 0.0), (1, 0.333)]
    with pytest.raises(SamplingCancelled):
        pipe(**QUICK, callback=lambda update: False)


def test_the_parts_give_what_a_call_gives(pipe):
    prompts = pipe.encode_prompt(["a cat", "a dog"], "blurred")
    noise = pipe.prepare_latents(QUICK["size"], seeds=[1, 2])
    found = pipe.denoise(noise, prompts, SHORT)
    whole = pipe(**{**QUICK, "prompt": ["a cat", "a dog"]}, negative_prompt="blurred", seed=[1, 2])
    assert torch.equal(found.latents, whole.latents) and torch.equal(found.latents, found.estimate)
    assert torch.equal(pipe.decode(found.latents), whole.frames)
    streamed = torch.cat(list(pipe.decode_stream(found.latents[1:])))
    assert torch.equal(streamed, whole.frames[1])


@pytest.mark.slow
def test_the_checkpoint_is_opened_once_for_all_calls(tiny_set, monkeypatch):
    opened, find = [], checkpoints.find_weights
    monkeypatch.setattr(checkpoints, "find_weights", lambda path: opened.append(path) or find(path))
    pipe = small_pipeline(tiny_set, train_size=VideoSize(64, 64, 32))
    for _ in range(2):
        pipe(**QUICK)
    assert opened == [tiny_set.model]


def test_as_many_negative_prompts_as_prompts(tiny_set):
    with pytest.raises(LuminaError) as caught:
        small_pipeline(tiny_set).encode_prompt(["a cat", "a dog"], ["blurred"])
    assert caught.value.field == "negative_prompt"


def test_a_call_and_its_checks_have_the_same_arguments_and_defaults():
    call, checks = (inspect.signature(each).parameters for each in (LuminaVideoPipeline.__call__, VideoCall))
    callbacks = {"callback", "callback_on_step_end"}
    assert set(call) - {"self"} - callbacks == set(checks)
    for name, parameter in checks.items():
        if parameter.default is not inspect.Parameter.empty:
            assert call[name].default == parameter.default, name


BAD_CALLS = [
    ({"prompt": []}, "prompt"),
    ({"prompt": [3]}, "prompt"),
    ({"negative_prompt": ["a", "b"]}, "negative_prompt"),
    ({"plan": "fast"}, "plan"),
    ({"plan": 3}, "plan"),
    ({"size": VideoSize(32, 32, 8), "frames": 16}, "frames"),
    ({"size": (32, 33)}, "height"),
    ({"frames": 7, "size": None}, "frames"),
    ({"fps": 0}, "fps"),
    ({"fps": float("nan")}, "fps"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**64}, "seed"),
    ({"seed": 2**64 - 1, "videos_per_prompt": 2}, "seed"),
    ({"seed": []}, "seed"),
    ({"seed": [1, 2], "videos_per_prompt": 3}, "seed"),
    ({"seed": [1.5]}, "seed"),
    ({"videos_per_prompt": 0}, "videos_per_prompt"),
    ({"videos_per_prompt": True}, "videos_per_prompt"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": True}, "batch_size"),
    ({"output_type": "gif"}, "output_type"),
    ({"start": 1}, "latents"),
    ({"start": 3, "latents": torch.zeros(1, 16, 2, 4, 4)}, "start"),
    ({"stop": 0}, "start"),
    ({"stop": 9}, "start"),
    ({"latents": torch.zeros(1, 16, 2, 4, 5)}, "latents"),
    ({"latents": torch.zeros(2, 16, 2, 4, 4), "seed": [1, 2, 3], "videos_per_prompt": 3}, "latents"),
    ({"latents": torch.zeros(16, 2, 4, 4)}, "latents"),
    ({"latents": "noise"}, "latents"),
    ({"image": torch.rand(2, 32, 32, 3)}, "image"),
    ({"image": torch.rand(8, 32, 32, 3)}, "image"),
    ({"image": torch.rand(32, 32)}, "image"),
    ({"image": torch.rand(32, 32, 4)}, "image"),
    ({"image": torch.rand(32, 32, 3) * 3}, "image"),
    ({"image": torch.full((32, 32, 3), torch.nan)}, "image"),
    ({"image": torch.zeros(32, 32, 3, dtype=torch.long)}, "image"),
    ({"image": "cat.png"}, "image"),
    ({"image": []}, "image"),
    ({"image": torch.rand(32, 32, 3), "hold": 1.5}, "hold"),
    ({"image": torch.rand(32, 32, 3), "video": torch.rand(8, 32, 32, 3)}, "image"),
    ({"video": torch.rand(8, 32, 32, 3), "strength": 0}, "strength"),
    ({"video": torch.rand(8, 32, 32, 3), "strength": 1.1}, "strength"),
    ({"video": torch.rand(8, 32, 32, 3), "strength": 0.01}, "strength"),
    ({"video": torch.rand(8, 32, 32, 3), "start": 1}, "start"),
    ({"video": torch.rand(8, 32, 32, 3), "latents": torch.zeros(1, 16, 2, 4, 4)}, "latents"),
    ({"video": torch.rand(12, 32, 32, 3), "size": (32, 32)}, "video"),
    ({"video": torch.rand(16, 32, 32, 3)}, "frames"),
    ({"strength": 0.5}, "strength"),
]


@pytest.mark.parametrize(("changes", "field"), BAD_CALLS, ids=lambda value: value if isinstance(value, str) else "-")
def test_bad_calls_name_the_argument_before_anything_is_read(tiny_set, reads, changes, field):
    with pytest.raises(LuminaError) as caught:
        small_pipeline(tiny_set)(**{**QUICK, **changes})
    message = str(caught.value)
    assert caught.value.field == field or (caught.value.field is None and field in message), message
    assert "\n" not in message and message.endswith(".") and reads == []


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"keep": "some"}, "keep"),
        ({"preset": "fast"}, "preset"),
        ({"dtype": torch.float64}, "dtype"),
        ({"device": "tpu"}, "device"),
        ({"loras": ["absent.safetensors"]}, "LoRA"),
    ],
)
def test_bad_settings_name_themselves(tiny_set, settings, field):
    with pytest.raises(LuminaError) as caught:
        small_pipeline(tiny_set, **settings)
    assert caught.value.field == field or field in str(caught.value)


def test_a_callback_of_another_type_is_refused(pipe):
    with pytest.raises(LuminaError) as caught:
        pipe(**QUICK, callback=3)
    assert caught.value.field == "callback"


def test_prompts_and_latents_of_denoise_go_together(pipe):
    with pytest.raises(LuminaError) as caught:
        pipe.denoise(pipe.prepare_latents(QUICK["size"], seeds=[1, 2]), pipe.encode_prompt("a cat"), SHORT)
    assert caught.value.field == "latents"
