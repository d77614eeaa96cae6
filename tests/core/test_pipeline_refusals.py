"""What cannot be made becomes one sentence, and nothing is left behind."""

import pickle
import shutil

import pytest
import torch
from generate_case import PLAN
from safetensors.torch import load_file, save_file

import scripts.make_tiny_set as tiny_maker
from lumina_core import LuminaError, VideoSize
from lumina_core.checkpoints.video import RELEASED_NAMES
from lumina_core.pipelines import video as pipeline
from lumina_core.pipelines.video import generate, prepare
from lumina_core.shapes.latents import LatentSize


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

    monkeypatch.setattr("lumina_core.vae.codec.VideoVAE.decode_stream", failing)
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
