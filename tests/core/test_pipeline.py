"""A prompt becomes a file, or an error becomes one sentence and nothing is left behind."""

import json
import pickle
import shutil
import weakref

import pytest
import torch
from safetensors.torch import load_file, save_file

import scripts.make_tiny_set as tiny_maker
from lumina_core import LuminaError, SamplingPlan, VideoSize, load_video_model, pipeline, sample
from lumina_core.checkpoint import RELEASED_NAMES, read_video_config
from lumina_core.config import VideoConfig
from lumina_core.cpu_layers import HAS_ONEDNN, columns_first
from lumina_core.media import read_metadata
from lumina_core.noise import seeded_noise
from lumina_core.pipeline import METADATA_KEY, GenerateRequest, Watcher, generate, prepare
from lumina_core.shapes import LatentSize
from lumina_core.text import load_text_encoder
from lumina_core.vae import load_video_vae
from lumina_core.version import VERSION

PLAN = SamplingPlan(
    patch="2x4 | 0.3: 2x2 | 0.6: 1x2", guidance="4 | 0.5: 0", motion=6, negative_motion=2, renorm=2, points=6
)


class Recorder(Watcher):
    def __init__(self):
        self.stages, self.notes, self.steps = [], [], []

    def stage(self, text):
        self.stages.append(text)

    def note(self, text):
        self.notes.append(text)

    def step(self, info):
        self.steps.append(info.step)


@pytest.fixture
def request_with(tiny_set, tmp_path):
    def build(**changes) -> GenerateRequest:
        given = {
            "checkpoint": tiny_set.model,
            "text_encoder": tiny_set.text,
            "vae": tiny_set.vae,
            "out": tmp_path / "out" / "clip.mp4",
            "prompt": "a cat on the sea",
            "size": VideoSize(64, 32, 16),
            "fps": 24,
            "plan": PLAN,
            "device": "cpu",
        }
        return GenerateRequest(**{**given, **changes})

    (tmp_path / "out").mkdir()
    return build


@pytest.fixture
def loads(monkeypatch):
    """Names of the networks that a run loaded."""
    seen = []
    for name in ("load_text_encoder", "load_video_model", "load_video_vae"):
        original = getattr(pipeline, name)

        def loading(*args, _name=name, _original=original):
            seen.append(_name)
            return _original(*args)

        monkeypatch.setattr(pipeline, name, loading)
    return seen


def changed_weights(source, folder, change):
    """A copy of a released folder with ``change(weights)`` applied."""
    shutil.copytree(source, folder)
    weights = load_file(folder / RELEASED_NAMES[0])
    change(weights)
    save_file(weights, folder / RELEASED_NAMES[0])
    return folder


def test_a_prompt_becomes_an_mp4_that_says_how(request_with, tmp_path):
    request = request_with(negative_prompt="blurred", seed=7)
    seen = Recorder()
    result = generate(request, seen)
    assert result.file == request.out and result.file.stat().st_size > 0
    assert (result.width, result.height, result.frames, result.fps) == (64, 32, 16, 24)
    # t = 0, 0.2, 0.4, 0.6, 0.8: guided below 0.5.
    assert (result.nfe, result.passes) == (5, 8)
    assert seen.steps == [0, 1, 2, 3, 4] and seen.notes == []
    told = json.loads(read_metadata(result.file)[METADATA_KEY])
    assert told == {
        "version": VERSION,
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
    assert list((tmp_path / "out").iterdir()) == [request.out]


def test_a_decode_without_memory_goes_on_in_tiles(request_with, monkeypatch):
    from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXDecoder3D as Decoder

    forward = Decoder.forward

    def full(decoder, latents, conv_cache=None):
        if latents.shape[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(decoder, latents, conv_cache=conv_cache)

    monkeypatch.setattr(Decoder, "forward", full)
    seen = Recorder()
    result = generate(request_with(), seen)
    assert result.frames == 16 and result.file.stat().st_size > 0
    assert len(seen.notes) == 1 and "goes on in tiles of 32 pixels" in seen.notes[0]


def test_it_is_the_same_as_calling_the_parts(request_with, tiny_set, monkeypatch):
    request = request_with(negative_prompt="a dog")
    caught = []
    write_video = pipeline.write_video

    def catching(path, frames, *rest):
        caught.extend(frames)
        return write_video(path, caught, *rest)

    monkeypatch.setattr(pipeline, "write_video", catching)
    generate(request)
    texts = load_text_encoder(tiny_set.text).encode([request.prompt, request.negative_prompt])
    positive, negative = ((texts.features[i : i + 1], texts.mask[i : i + 1]) for i in range(2))
    noise = seeded_noise((1, *LatentSize(4, 4, 8).shape(16)), 0, torch.device("cpu"), torch.float32)
    network = load_video_model(tiny_set.model)
    columns_first(network)
    latents = sample(network, noise, PLAN, positive, negative)
    frames = load_video_vae(tiny_set.vae).decode(latents)
    assert torch.equal(torch.cat(caught), frames)


def test_the_network_runs_as_often_as_told(request_with, monkeypatch):
    items = []

    def load(*args):
        model = load_video_model(*args)
        model.register_forward_pre_hook(lambda network, inputs: items.append(len(inputs[0])))
        return model

    monkeypatch.setattr(pipeline, "load_video_model", load)
    result = generate(request_with(plan=PLAN.replace(solver="heun2")))
    assert (len(items), sum(items)) == (result.nfe, result.passes)


def test_the_weights_of_the_network_lie_by_columns_on_a_processor(request_with, monkeypatch):
    loaded = []
    monkeypatch.setattr(pipeline, "load_video_model", lambda *args: loaded.append(load_video_model(*args)) or loaded[0])
    generate(request_with())
    weights = [block.attention.wq.weight for block in loaded[0].layers]
    assert all(weight.t().is_contiguous() == HAS_ONEDNN for weight in weights)


def test_one_large_network_at_a_time(request_with, monkeypatch):
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

    original = pipeline.write_video

    def write(*args):
        assert alive["network"]() is None
        return original(*args)

    monkeypatch.setattr(pipeline, "load_text_encoder", load_text)
    monkeypatch.setattr(pipeline, "load_video_model", load_network)
    monkeypatch.setattr(pipeline, "write_video", write)
    generate(request_with())


def test_one_frame_becomes_a_png(request_with, tmp_path):
    from PIL import Image

    request = request_with(
        size=VideoSize(64, 32, 1), out=tmp_path / "out" / "picture.png", plan=PLAN.replace(patch="1x2")
    )
    result = generate(request)
    assert result.frames == 1
    assert Image.open(result.file).size == (64, 32)
    assert json.loads(read_metadata(result.file)[METADATA_KEY])["frames"] == 1


def test_a_frame_count_that_the_vae_cannot_keep_is_told(request_with):
    seen = Recorder()
    result = generate(request_with(size=VideoSize(64, 32, 12), plan=PLAN.replace(patch="1x2")), seen)
    assert result.frames == 9
    assert seen.notes == ["12 frames are 3 latent frames, which the VAE decodes to 9; multiples of 8 keep their count."]


def test_a_clip_beyond_the_trained_size_is_scaled_or_warned_of(request_with):
    trained, frames = VideoSize(32, 32, 8), {}
    for rope in ("off", "ntk"):
        seen = Recorder()
        seen.frames = lambda part, rope=rope: frames.setdefault(rope, part)
        result = generate(request_with(train_size=trained, plan=PLAN.replace(rope=rope)), seen)
        assert len(seen.notes) == (rope == "off")
        assert all("64x32 with 16 frames, more than" in note and "(32x32 with 8 frames)" in note for note in seen.notes)
        assert json.loads(read_metadata(result.file)[METADATA_KEY])["train_size"] == [32, 32, 8]
    assert not torch.equal(frames["off"], frames["ntk"])


def test_prompts_of_any_length(request_with):
    seen = Recorder()
    generate(request_with(prompt=""), seen)
    assert seen.notes == []
    generate(request_with(prompt="cat " * 10_000), seen)
    (note,) = seen.notes
    assert note.startswith("The prompt is too long: its last ") and "256" in note
    assert int(note.split()[7]) > 9000


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_narrow_dtypes_run(request_with, dtype):
    assert generate(request_with(dtype=dtype)).frames == 16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU: the official noise and a GPU run are unchecked")
def test_a_gpu_run_starts_from_the_official_noise(request_with):
    size, gpu = LatentSize(2, 4, 4), torch.device("cuda")
    torch.random.manual_seed(1000)
    official = torch.randn([1, 16, 2, 4, 4], device="cuda", dtype=torch.bfloat16)
    assert torch.equal(official, seeded_noise((1, *size.shape(16)), 1000, gpu, torch.bfloat16))
    assert generate(request_with(device="auto")).frames == 16


def test_the_header_says_what_the_weights_say(tiny_set, tmp_path):
    config = load_video_model(tiny_set.model).config
    assert read_video_config(tiny_set.model) == config
    weights = load_file(tiny_set.model / RELEASED_NAMES[0])
    torch.save({f"_orig_mod.{key}": value for key, value in weights.items()}, tmp_path / "net.pth")
    assert read_video_config(tmp_path / "net.pth") == config
    # Without a model_args.pth beside it the released values hold.
    assert (config.rope_theta, config.t_scale) == (VideoConfig().rope_theta, VideoConfig().t_scale)


BAD = [
    ({"size": VideoSize(60, 32, 16)}, ["width is 60", "multiple of"]),
    ({"size": VideoSize(48, 32, 16)}, ["width is 48", "2x4", "multiple of 32"]),
    ({"size": VideoSize(64, 40, 16), "plan": PLAN.replace(patch="1x2")}, ["height is 40", "multiple of 16"]),
    ({"size": VideoSize(64, 32, 12)}, ["frames is 12", "multiple of 8"]),
    ({"size": VideoSize(64, 32, 15)}, ["frames is 15", "multiple of 4"]),
    ({"size": VideoSize(65536, 65536, 16)}, ["65536x65536", "67108864 tokens at patch size", "use at most 4194304"]),
    ({"plan": PLAN.replace(rope="time")}, ["does not say what size it was trained on", "rope time"]),
    ({"plan": PLAN.replace(proportional=True)}, ["does not say what size", "proportional attention"]),
    ({"plan": PLAN.replace(patch="4x4 | 0.5: 1x2")}, ["4x4", "checkpoint", "1x2, 2x2, 2x4"]),
    ({"fps": 0}, ["fps is 0", "above 0"]),
    ({"fps": float("nan")}, ["fps is nan", "above 0"]),
    ({"seed": -1}, ["seed is -1", "from 0 to"]),
    ({"device": "tpu"}, ["device is 'tpu'", "cuda"]),
    ({"device": "cuda:99"}, ["device is 'cuda:99'", "CUDA GPU"]),
    ({"dtype": "fp8"}, ["dtype is 'fp8'", "bf16"]),
    ({"vae_tile": 1}, ["tile is 1", "at least 4"]),
]


@pytest.mark.parametrize(
    ("changes", "words"), BAD, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
def test_bad_values_are_told_before_anything_is_loaded(request_with, loads, tmp_path, changes, words):
    expect_error(request_with(**changes), words, tmp_path)
    assert loads == []


@pytest.mark.parametrize("field", ["checkpoint", "text_encoder", "vae"])
def test_missing_files_are_told_before_anything_is_loaded(request_with, loads, tmp_path, field):
    expect_error(request_with(**{field: tmp_path / "absent"}), ["absent", "does not exist"], tmp_path)
    assert loads == []


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("absent/clip.mp4", ["folder", "absent", "does not exist"]),
        ("out/clip.avi", ["clip.avi", ".mp4"]),
        ("out", [".mp4"]),
    ],
)
def test_a_bad_target_is_told_before_anything_is_loaded(request_with, loads, tmp_path, out, words):
    expect_error(request_with(out=tmp_path / out), words, tmp_path)
    assert loads == []


def test_damaged_checkpoints_are_told_before_anything_is_loaded(request_with, loads, tiny_set, tmp_path):
    name = RELEASED_NAMES[0]
    whole = (tiny_set.model / name).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    expect_error(request_with(checkpoint=tmp_path / "cut.safetensors"), ["cut.safetensors", "truncated"], tmp_path)
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    expect_error(
        request_with(checkpoint=tmp_path / "text.safetensors"), ["text.safetensors", "cannot be read"], tmp_path
    )
    save_file({"encoder.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    expect_error(request_with(checkpoint=tmp_path / "other.safetensors"), ["not a Lumina-Video checkpoint"], tmp_path)
    lacking = changed_weights(tiny_set.model, tmp_path / "lacking", lambda w: w.pop("pad_token"))
    expect_error(request_with(checkpoint=lacking), ["1 missing", "pad_token"], tmp_path)
    (tmp_path / "out" / "empty").mkdir()
    expect_error(request_with(checkpoint=tmp_path / "out" / "empty"), ["empty", name], tmp_path, keep={"empty"})
    assert loads == []


class Bomb:
    def __reduce__(self):
        return print, ("this code came out of a file",)


@pytest.mark.parametrize("name", ["model_args.pth", "consolidated.00-of-01.pth"])
def test_a_pickle_with_code_is_refused_and_not_run(request_with, loads, tiny_set, tmp_path, capsys, name):
    folder = tmp_path / "bad"
    if name == "model_args.pth":
        shutil.copytree(tiny_set.model, folder)
    else:
        folder.mkdir()
    (folder / name).write_bytes(pickle.dumps(Bomb(), protocol=2))
    expect_error(request_with(checkpoint=folder), [name], tmp_path)
    assert "this code" not in capsys.readouterr().out
    assert loads == []


def test_nan_weights_are_told_before_sampling(request_with, tiny_set, tmp_path):
    def spoil(weights):
        weights["layers.1.attention.wo.weight"][3, 4] = float("nan")

    folder = changed_weights(tiny_set.model, tmp_path / "nan", spoil)
    expect_error(request_with(checkpoint=folder), ["NaN", "layers.1.attention.wo.weight"], tmp_path)


def test_an_encoder_of_another_width_is_told_before_the_network_loads(request_with, loads, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_maker, "TEXT_WIDTH", 32)
    tiny_maker.write_text_encoder(tmp_path / "narrow", seed=0)
    expect_error(request_with(text_encoder=tmp_path / "narrow"), ["32 wide", "reads 48"], tmp_path)
    assert "load_video_model" not in loads


@pytest.mark.parametrize("field", ["text_encoder", "vae"])
def test_foreign_parts_are_told_before_the_network_loads(request_with, loads, tmp_path, field):
    (tmp_path / "foreign").mkdir()
    expect_error(request_with(**{field: tmp_path / "foreign"}), ["foreign"], tmp_path)
    assert "load_video_model" not in loads


def test_a_constant_frame_ends_the_run_after_its_first_step(request_with, tiny_set, tmp_path):
    def untrain(weights):
        for key in weights:
            if key.startswith("all_final_layer") and ".linear." in key:
                weights[key].zero_()

    folder = changed_weights(tiny_set.model, tmp_path / "untrained", untrain)
    expect_error(request_with(checkpoint=folder), ["constant", "untrained"], tmp_path)


def test_overflow_ends_the_run_after_its_first_step(request_with, tiny_set, tmp_path):
    def overflow(weights):
        for key in weights:
            if key.startswith("all_final_layer") and ".linear.weight" in key:
                weights[key].mul_(1e6)

    folder = changed_weights(tiny_set.model, tmp_path / "loud", overflow)
    expect_error(request_with(checkpoint=folder, dtype="fp16"), ["NaN or infinite", "fp32"], tmp_path)


def test_an_older_file_survives_a_failed_run(request_with, monkeypatch):
    request = request_with()
    request.out.write_bytes(b"precious")

    def failing(*_):
        yield torch.zeros(8, 32, 64, 3)
        raise KeyboardInterrupt

    monkeypatch.setattr("lumina_core.vae_codec.VideoVAE.decode_stream", failing)
    with pytest.raises(KeyboardInterrupt):
        generate(request)
    assert request.out.read_bytes() == b"precious"
    assert list(request.out.parent.iterdir()) == [request.out]


def test_prepare_loads_nothing_and_leaves_nothing(request_with, loads, tmp_path):
    job = prepare(request_with())
    assert (job.latent, job.device.type, job.dtype) == (LatentSize(4, 4, 8), "cpu", torch.float32)
    assert loads == [] and list((tmp_path / "out").iterdir()) == []


def expect_error(request, words, tmp_path, keep=frozenset()):
    """The run fails with one sentence that holds all words, and leaves nothing in the output folder."""
    with pytest.raises(LuminaError) as caught:
        generate(request)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    for word in words:
        assert word in message, message
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(keep)
