"""A prompt becomes a file that is what the parts make of it."""

import json
import weakref

import pytest
import torch
from generate_case import CALL, PLAN, small_pipeline
from safetensors.torch import load_file

from lumina_core import VideoSize, load_video_model, sample
from lumina_core.checkpoints.video import RELEASED_NAMES, read_video_config
from lumina_core.media.writer import read_metadata
from lumina_core.network.config import VideoConfig
from lumina_core.network.cpu_kernels import HAS_ONEDNN, prepare_for_cpu
from lumina_core.pipelines import video_stages as pipeline
from lumina_core.pipelines.base import ProgressObserver
from lumina_core.pipelines.video_writer import CLIP_KEY
from lumina_core.sampling.noise import seeded_noise
from lumina_core.shapes.latents import LatentSize
from lumina_core.text.gemma import load_text_encoder
from lumina_core.vae.loader import load_video_vae
from lumina_core.version import __version__


class Recorder(ProgressObserver):
    def __init__(self):
        self.stages, self.notes, self.steps = [], [], []

    def stage(self, text):
        self.stages.append(text)

    def note(self, text):
        self.notes.append(text)

    def step(self, info):
        self.steps.append(info.step)


def test_a_prompt_becomes_an_mp4_that_says_how(make_clip, out):
    seen = Recorder()
    result = make_clip(negative_prompt="blurred", seed=7, observer=seen)
    assert result.file == out and result.file.stat().st_size > 0
    assert (result.width, result.height, result.frames, result.fps) == (64, 32, 16, 24)
    # t = 0, 0.2, 0.4, 0.6, 0.8: guided below 0.5.
    assert (result.nfe, result.passes) == (5, 8)
    assert seen.steps == [0, 1, 2, 3, 4] and seen.notes == []
    told = json.loads(read_metadata(result.file)[CLIP_KEY])
    assert told == {
        "version": __version__,
        "prompt": "a cat on the sea",
        "negative_prompt": "blurred",
        "seed": 7,
        "width": 64,
        "height": 32,
        "frames": 16,
        "fps": 24,
        "checkpoint": RELEASED_NAMES[0],
        "plan": PLAN.as_dict(),
    }
    assert list(out.parent.iterdir()) == [out]


def test_a_decode_without_memory_goes_on_in_tiles(make_clip, monkeypatch):
    from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXDecoder3D as Decoder

    forward = Decoder.forward

    def full(decoder, latents, conv_cache=None):
        if latents.shape[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(decoder, latents, conv_cache=conv_cache)

    monkeypatch.setattr(Decoder, "forward", full)
    seen = Recorder()
    result = make_clip(observer=seen)
    assert result.frames == 16 and result.file.stat().st_size > 0
    assert len(seen.notes) == 1 and "tiles of 32 pixels" in seen.notes[0]


def test_it_is_the_same_as_calling_the_parts(tiny_set):
    clip = small_pipeline(tiny_set)(**CALL, negative_prompt="a dog")
    encoder = load_text_encoder(tiny_set.text)
    texts = [encoder.encode([text]) for text in (CALL["prompt"], "a dog")]
    positive, negative = ((text.features, text.mask) for text in texts)
    noise = seeded_noise((1, *LatentSize(4, 4, 8).shape(16)), 0, torch.device("cpu"), torch.float32)
    network = load_video_model(tiny_set.model)
    prepare_for_cpu(network)
    latents = sample(network, noise, PLAN, positive, negative)
    assert torch.equal(clip.latents, latents)
    assert torch.equal(clip.frames[0], load_video_vae(tiny_set.vae).decode(latents))


def test_the_network_runs_as_often_as_told(make_clip, monkeypatch):
    items = []

    def load(*args):
        model = load_video_model(*args)
        model.register_forward_pre_hook(lambda network, inputs: items.append(len(inputs[0])))
        return model

    monkeypatch.setattr(pipeline, "load_video_model", load)
    result = make_clip(plan=PLAN.replace(solver="heun2"))
    assert (len(items), sum(items)) == (result.nfe, result.passes)


def test_the_weights_of_the_network_lie_by_columns_on_a_processor(make_clip, monkeypatch):
    loaded = []
    monkeypatch.setattr(pipeline, "load_video_model", lambda *args: loaded.append(load_video_model(*args)) or loaded[0])
    make_clip()
    weights = [block.attention.wq.weight for block in loaded[0].layers]
    assert all(weight.t().is_contiguous() == HAS_ONEDNN for weight in weights)


def test_one_large_network_at_a_time(tiny_set, monkeypatch):
    alive = {}

    def load_text(*args):
        encoder = load_text_encoder(*args)
        alive["text"] = weakref.ref(encoder.model)
        return encoder

    def load_network(*args):
        assert alive["text"]() is None
        model = load_video_model(*args)
        alive["network"] = weakref.ref(model)
        return model

    class Decoding(Recorder):
        def frames(self, frames):
            assert alive["network"]() is None

    monkeypatch.setattr(pipeline, "load_text_encoder", load_text)
    monkeypatch.setattr(pipeline, "load_video_model", load_network)
    seen, pipe = Decoding(), small_pipeline(tiny_set)
    pipe(**CALL, callback=seen)
    assert seen.stages[-1] == "decoding" and pipe.loaded == ()


def test_one_frame_becomes_a_png(make_clip, tmp_path):
    from PIL import Image

    target = tmp_path / "out" / "picture.png"
    result = make_clip(size=VideoSize(64, 32, 1), out=target, plan=PLAN.replace(patch="1x2"))
    assert result.frames == 1
    assert Image.open(result.file).size == (64, 32)
    assert json.loads(read_metadata(result.file)[CLIP_KEY])["frames"] == 1


def test_a_frame_count_that_the_vae_cannot_keep_is_told(make_clip):
    seen = Recorder()
    result = make_clip(size=VideoSize(64, 32, 12), plan=PLAN.replace(patch="1x2"), observer=seen)
    assert result.frames == 9
    (note,) = seen.notes
    assert all(fact in note for fact in ("12 frames", "3 latent frames", "to 9", "multiples of 8"))


@pytest.mark.slow
def test_a_clip_beyond_the_trained_size_is_scaled_or_warned_of(make_clip):
    trained, frames = VideoSize(32, 32, 8), {}
    for rope in ("off", "ntk"):
        seen = Recorder()
        seen.frames = lambda part, rope=rope: frames.setdefault(rope, part)
        result = make_clip(train_size=trained, plan=PLAN.replace(rope=rope), observer=seen)
        assert len(seen.notes) == (rope == "off")
        assert all("64x32 with 16 frames, more than" in note and "(32x32 with 8 frames)" in note for note in seen.notes)
        assert json.loads(read_metadata(result.file)[CLIP_KEY])["train_size"] == [32, 32, 8]
    assert not torch.equal(frames["off"], frames["ntk"])


@pytest.mark.slow
def test_prompts_of_any_length(make_clip):
    seen = Recorder()
    make_clip(prompt="", observer=seen)
    assert seen.notes == []
    make_clip(prompt="cat " * 10_000, observer=seen)
    (note,) = seen.notes
    assert note.startswith("The prompt is too long: its last ") and "256" in note
    assert int(note.split()[7]) > 9000


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_narrow_dtypes_run(make_clip, dtype):
    assert make_clip(dtype=dtype).frames == 16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU: the official noise and a GPU run are unchecked")
def test_a_gpu_run_starts_from_the_official_noise(make_clip):
    size, gpu = LatentSize(2, 4, 4), torch.device("cuda")
    torch.random.manual_seed(1000)
    official = torch.randn([1, 16, 2, 4, 4], device="cuda", dtype=torch.bfloat16)
    assert torch.equal(official, seeded_noise((1, *size.shape(16)), 1000, gpu, torch.bfloat16))
    assert make_clip(device="auto").frames == 16


def test_the_header_says_what_the_weights_say(tiny_set, tmp_path):
    config = load_video_model(tiny_set.model).config
    assert read_video_config(tiny_set.model) == config
    weights = load_file(tiny_set.model / RELEASED_NAMES[0])
    torch.save({f"_orig_mod.{key}": value for key, value in weights.items()}, tmp_path / "net.pth")
    assert read_video_config(tmp_path / "net.pth") == config
    # Without a model_args.pth beside it the released values hold.
    assert (config.rope_theta, config.t_scale) == (VideoConfig().rope_theta, VideoConfig().t_scale)
