"""LuminaImagePipeline on tiny random parts: whole and parts, against diffusers' network, arguments that do not fit."""

import pytest
import torch
from diffusers import AutoencoderKL
from image_case import reference

import lumina_core.pipelines.image as module
from lumina_core import LuminaError, LuminaImagePipeline, SamplingCancelled
from lumina_core.checkpoints.image import load_image_model
from lumina_core.pipelines.image import IMAGE_PLAN
from lumina_core.sampling.noise import seeded_noise
from lumina_core.sampling.video import sample
from lumina_core.text.gemma import load_text_encoder
from lumina_core.vae.image import SCALE, load_image_vae
from scripts.make_tiny_set import IMAGE_MODEL_FOLDER, IMAGE_TEXT_FOLDER, random_weights

PLAN = IMAGE_PLAN.replace(points=3)
SIZE = {"width": 64, "height": 32}


@pytest.fixture(scope="module")
def files(tiny_set, tmp_path_factory):
    """Checkpoint and text encoder of the tiny set, and a VAE that divides sides by 8."""
    vae = AutoencoderKL(
        block_out_channels=(8,) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=8, scaling_factor=SCALE,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    vae.load_state_dict(random_weights(vae.state_dict(), 3))
    vae.save_pretrained(folder := tmp_path_factory.mktemp("image") / "vae")
    root = tiny_set.root
    return {"checkpoint": root / IMAGE_MODEL_FOLDER, "text_encoder": root / IMAGE_TEXT_FOLDER, "vae": folder}


@pytest.fixture(scope="module")
def pipe(files):
    return LuminaImagePipeline.from_files(**files, device="cpu", keep="all")


@pytest.fixture
def loads(monkeypatch):
    called = []

    def count(name):
        load = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: called.append(name) or load(*given))

    for name in ("load_image_model", "load_text_encoder", "load_image_vae"):
        count(name)
    return called


def test_the_call_is_sampler_and_vae_on_the_released_parts(files, pipe):
    out = pipe("a cat", "a dog", plan=PLAN, seed=3, **SIZE)
    encoder = load_text_encoder(files["text_encoder"])
    texts = [(one.features, one.mask) for one in (encoder.encode(["a cat"]), encoder.encode(["a dog"]))]
    noise = seeded_noise((1, 4, 1, 4, 8), 3, torch.device("cpu"), torch.float32)
    latents = sample(load_image_model(files["checkpoint"]), noise, PLAN, *texts)[:, :, 0]
    assert torch.allclose(out.latents, latents, atol=1e-5)
    assert torch.allclose(out.images, load_image_vae(files["vae"]).decode(latents), atol=1e-5)
    assert out.images.shape == (1, 32, 64, 3) and (out.nfe, out.passes, out.seeds) == (2, 4, (3,))


def test_the_call_is_its_parts(pipe):
    out = pipe("a cat", plan=PLAN, seed=3, **SIZE)
    found = pipe.denoise(pipe.prepare_latents(64, 32, [3]), pipe.encode_prompt("a cat"), PLAN)
    assert torch.equal(found.latents, out.latents) and torch.equal(pipe.decode(found.latents), out.images)
    assert torch.equal(pipe("a cat", plan=PLAN, latents=pipe.prepare_latents(64, 32, [3]), **SIZE).images, out.images)


def test_prompts_and_seeds_are_those_of_single_calls_and_files_are_read_once(files, loads):
    pipe = LuminaImagePipeline.from_files(**files, device="cpu")
    out = pipe(["a cat", "the sea"], plan=PLAN, images_per_prompt=2, seed=5, **SIZE)
    assert sorted(loads) == ["load_image_model", "load_image_vae", "load_text_encoder"] and pipe.loaded == ()
    assert out.images.shape == (4, 32, 64, 3) and out.seeds == (5, 6, 5, 6) and out.nfe == 8
    alone = pipe("the sea", plan=PLAN, seed=6, **SIZE)
    assert torch.equal(alone.images[0], out.images[3]) and not torch.equal(out.images[1], out.images[3])


def test_diffusers_folder_guided_channels_and_output_types(files, tmp_path):
    reference(2).save_pretrained(tmp_path / "transformer")
    with pytest.raises(LuminaError) as caught:
        LuminaImagePipeline.from_files(**files | {"checkpoint": tmp_path})
    assert "24" in str(caught.value), "its text is 24 wide"
    three = LuminaImagePipeline.from_files(**files, device="cpu", guided_channels=3, keep="all")
    every = LuminaImagePipeline.from_files(**files, device="cpu")
    found, other = (pipe("a cat", plan=PLAN, output_type="latent", **SIZE) for pipe in (three, every))
    assert found.images is None and not torch.allclose(found.latents[:, 3], other.latents[:, 3])
    (image,) = three("a cat", plan=PLAN, output_type="pil", **SIZE).images
    assert image.size == (64, 32)
    array = three("a cat", plan=PLAN, output_type="np", **SIZE).images
    assert torch.equal(torch.from_numpy(array), three("a cat", plan=PLAN, **SIZE).images)


def test_a_draft_that_a_second_call_refines_is_the_whole_run(pipe):
    whole = pipe("a cat", plan=PLAN, seed=[1, 2], **SIZE)
    draft = pipe("a cat", plan=PLAN, seed=[1, 2], stop=1, **SIZE)
    assert draft.nfe == 2 and draft.images.shape == whole.images.shape and not torch.equal(draft.images, whole.images)
    rest = pipe("a cat", plan=PLAN, latents=draft.latents, start=1, **SIZE)
    assert torch.equal(rest.latents, whole.latents) and torch.equal(rest.images, whole.images)


def test_a_batch_of_images_is_the_images_alone(pipe):
    alone, together = (pipe("a cat", plan=PLAN, seed=[1, 2, 3], batch_size=size, **SIZE).latents for size in (1, 2))
    assert torch.allclose(alone, together, atol=1e-4)


def test_the_callback_of_diffusers_sees_tensors_and_can_cancel(pipe):
    seen = []
    pipe("a cat", plan=PLAN, callback_on_step_end=lambda *given: seen.append(given), **SIZE)
    assert [(found, step) for found, step, *_ in seen] == [(pipe, 0), (pipe, 1)]
    assert set(seen[0][3]) == {"latents", "denoised"}
    with pytest.raises(SamplingCancelled):
        pipe("a cat", plan=PLAN, callback_on_step_end=lambda *given: False, **SIZE)


def test_a_callback_sees_steps_and_can_cancel(pipe):
    steps = []
    pipe("a cat", plan=PLAN, seed=[1, 2], callback=lambda update: steps.append(update.step), **SIZE)
    assert steps == [0, 1, 0, 1]
    with pytest.raises(SamplingCancelled):
        pipe("a cat", plan=PLAN, callback=lambda update: False, **SIZE)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [3]}, "prompt"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt"),
        ({"seed": -1}, "seed"),
        ({"seed": [1, 2, 3], "images_per_prompt": 2}, "seed"),
        ({"images_per_prompt": 0}, "images_per_prompt"),
        ({"images_per_prompt": True}, "images_per_prompt"),
        ({"batch_size": 0}, "batch_size"),
        ({"start": 1}, "latents"),
        ({"stop": 3}, "start"),
        ({"output_type": "jpeg"}, "output_type"),
        ({"callback": 1}, "callback"),
        ({"latents": torch.zeros(1, 4, 4, 4)}, "latents"),
        ({"latents": torch.zeros(1, 16, 4, 8)}, "latents"),
        ({"width": 60}, None),
        ({"plan": PLAN.replace(patch="2x2")}, None),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_loaded(pipe, loads, changes, field):
    with pytest.raises(LuminaError) as caught:
        pipe(**{"prompt": "a cat", "plan": PLAN, **SIZE} | changes)
    assert field in (None, caught.value.field) and loads == []


def test_files_that_do_not_go_together(files, tiny_set, tmp_path):
    for changes in ({"vae": tmp_path}, {"text_encoder": tiny_set.text}, {"checkpoint": tiny_set.model}):
        with pytest.raises(LuminaError):
            LuminaImagePipeline.from_files(**files | changes)
