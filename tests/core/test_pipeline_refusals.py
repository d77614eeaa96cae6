"""What cannot be made becomes one sentence, and nothing is left behind."""

import pickle
import shutil

import pytest
import torch
from generate_case import CALL, PLAN, small_pipeline
from safetensors.torch import load_file, save_file

import scripts.make_tiny_set as tiny_maker
from lumina_core import LuminaError, VideoSize
from lumina_core.checkpoints.video import RELEASED_NAMES
from lumina_core.pipelines import video_stages as pipeline
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
    ({"size": VideoSize(65536, 65536, 16)}, ["65536x65536", "67108864 tokens", "4194304"]),
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
def test_bad_values_are_told_before_anything_is_loaded(make_clip, loads, tmp_path, changes, words):
    expect_error(make_clip, words, tmp_path, **changes)
    assert loads == []


@pytest.mark.parametrize("field", ["checkpoint", "text_encoder", "vae"])
def test_missing_files_are_told_before_anything_is_loaded(make_clip, loads, tmp_path, field):
    expect_error(make_clip, ["absent", "does not exist"], tmp_path, **{field: tmp_path / "absent"})
    assert loads == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("absent/clip.mp4", ["folder", "absent", "does not exist"]),
        ("out/clip.avi", ["clip.avi", ".mp4"]),
        ("out", [".mp4"]),
    ],
)
def test_a_bad_target_is_told_before_anything_is_loaded(make_clip, loads, out, tmp_path, target, words):
    expect_error(make_clip, words, tmp_path, out=tmp_path / target)
    assert loads == []


def test_damaged_checkpoints_are_told_before_anything_is_loaded(make_clip, loads, tiny_set, tmp_path):
    name = RELEASED_NAMES[0]
    whole = (tiny_set.model / name).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    expect_error(make_clip, ["cut.safetensors", "truncated"], tmp_path, checkpoint=tmp_path / "cut.safetensors")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    said = ["text.safetensors", "cannot be read"]
    expect_error(make_clip, said, tmp_path, checkpoint=tmp_path / "text.safetensors")
    save_file({"encoder.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    expect_error(make_clip, ["not a Lumina-Video checkpoint"], tmp_path, checkpoint=tmp_path / "other.safetensors")
    lacking = changed_weights(tiny_set.model, tmp_path / "lacking", lambda w: w.pop("pad_token"))
    expect_error(make_clip, ["1 missing", "pad_token"], tmp_path, checkpoint=lacking)
    (tmp_path / "out" / "empty").mkdir()
    expect_error(make_clip, ["empty", name], tmp_path, keep={"empty"}, checkpoint=tmp_path / "out" / "empty")
    assert loads == []


class Bomb:
    def __reduce__(self):
        return print, ("this code came out of a file",)


@pytest.mark.parametrize("name", ["model_args.pth", "consolidated.00-of-01.pth"])
def test_a_pickle_with_code_is_refused_and_not_run(make_clip, loads, tiny_set, tmp_path, capsys, name):
    folder = tmp_path / "bad"
    if name == "model_args.pth":
        shutil.copytree(tiny_set.model, folder)
    else:
        folder.mkdir()
    (folder / name).write_bytes(pickle.dumps(Bomb(), protocol=2))
    expect_error(make_clip, [name], tmp_path, checkpoint=folder)
    assert "this code" not in capsys.readouterr().out
    assert loads == []


def test_nan_weights_are_told_before_sampling(make_clip, tiny_set, tmp_path):
    def spoil(weights):
        weights["layers.1.attention.wo.weight"][3, 4] = float("nan")

    folder = changed_weights(tiny_set.model, tmp_path / "nan", spoil)
    expect_error(make_clip, ["NaN", "layers.1.attention.wo.weight"], tmp_path, checkpoint=folder)


def test_an_encoder_of_another_width_is_told_before_the_network_loads(make_clip, loads, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_maker, "TEXT_WIDTH", 32)
    tiny_maker.write_text_encoder(tmp_path / "narrow", seed=0)
    expect_error(make_clip, ["32 wide", "reads 48"], tmp_path, text_encoder=tmp_path / "narrow")
    assert "load_video_model" not in loads


@pytest.mark.parametrize("field", ["text_encoder", "vae"])
def test_foreign_parts_are_told_before_the_network_loads(make_clip, loads, tmp_path, field):
    (tmp_path / "foreign").mkdir()
    expect_error(make_clip, ["foreign"], tmp_path, **{field: tmp_path / "foreign"})
    assert "load_video_model" not in loads


def test_a_constant_frame_ends_the_run_after_its_first_step(make_clip, tiny_set, tmp_path):
    def untrain(weights):
        for key in weights:
            if key.startswith("all_final_layer") and ".linear." in key:
                weights[key].zero_()

    folder = changed_weights(tiny_set.model, tmp_path / "untrained", untrain)
    expect_error(make_clip, ["constant", "untrained"], tmp_path, checkpoint=folder)


def test_overflow_ends_the_run_after_its_first_step(make_clip, tiny_set, tmp_path):
    def overflow(weights):
        for key in weights:
            if key.startswith("all_final_layer") and ".linear.weight" in key:
                weights[key].mul_(1e6)

    folder = changed_weights(tiny_set.model, tmp_path / "loud", overflow)
    expect_error(make_clip, ["NaN or infinite", "fp32"], tmp_path, checkpoint=folder, dtype="fp16")


def test_an_older_file_survives_a_failed_run(make_clip, out, monkeypatch):
    out.write_bytes(b"precious")

    def failing(*_):
        yield torch.zeros(8, 32, 64, 3)
        raise KeyboardInterrupt

    monkeypatch.setattr("lumina_core.vae.codec.VideoVAE.decode_stream", failing)
    with pytest.raises(KeyboardInterrupt):
        make_clip()
    assert out.read_bytes() == b"precious"
    assert list(out.parent.iterdir()) == [out]


def test_preparing_a_call_loads_nothing(tiny_set, loads):
    pipe = small_pipeline(tiny_set)
    job = pipe.prepare(**CALL)
    assert (job.latent, pipe.device.type, pipe.dtype) == (LatentSize(4, 4, 8), "cpu", torch.float32)
    assert loads == [] and pipe.loaded == ()


def expect_error(make_clip, words, tmp_path, keep=frozenset(), **changes):
    """The run fails with one sentence that holds all words, and leaves nothing in the output folder."""
    with pytest.raises(LuminaError) as caught:
        make_clip(**changes)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    for word in words:
        assert word in message, message
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(keep)
