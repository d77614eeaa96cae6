"""The command line of audio: its flags, which audio model is used, generate --audio, demo, and refusals."""

import json
import shutil
from pathlib import Path

import pytest

from lumina_core.audio.files import has_audio, read_audio
from lumina_core.cli import build_parser, demo, main
from lumina_core.media.reader import probe
from lumina_core.media.writer import read_metadata, write_video
from lumina_core.pipelines.audio_file import audio_pipeline
from lumina_core.pipelines.bundle import DESCRIPTION
from scripts.make_tiny_set import BUNDLE, write_bundle

QUICK = ["--steps", "2"]
SHORT = ["--points", "3", "--frames", "16", "--patch", "1x2"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A `bundles` folder with one random bundle, mini, that has an audio model."""
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(folder / "mini")
    return folder


@pytest.fixture(autouse=True)
def shipped(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr("lumina_core.pipelines.bundle.SHIPPED", shelf)
    monkeypatch.chdir(tmp_path)
    return shelf


@pytest.fixture(scope="module")
def silent(shelf, tmp_path_factory):
    """A copy of the bundle without its audio model."""
    folder = shutil.copytree(shelf / "mini", tmp_path_factory.mktemp("silent") / "silent")
    values = {key: value for key, value in {**BUNDLE, "name": "silent"}.items() if key != "sound"}
    (folder / DESCRIPTION).write_text(json.dumps(values), encoding="utf-8")
    return folder


@pytest.fixture
def video(tmp_path):
    from test_audio_pipeline import moving

    write_video(tmp_path / "clip.mp4", moving(16), 8.0)
    return tmp_path / "clip.mp4"


def run(capsys, *flags):
    """Exit status, stdout and stderr of a command."""
    status = main([str(flag) for flag in flags])
    told = capsys.readouterr()
    return status, told.out, told.err


def refused(capsys, words, *flags):
    status, _, err = run(capsys, *flags)
    assert status == 2, err
    assert words in err and err.count("\n") == 1, err


def test_a_video_gets_audio_of_the_bundled_model_with_a_note(video, tmp_path, capsys):
    status, out, err = run(capsys, "audio", video, *QUICK)
    assert status == 0
    assert err.count("note: ") == 1 and "mini" in err
    assert out.splitlines()[-1] == "clip-audio.mp4" and "2 s of audio, mono, 16000 Hz" in out
    assert "NFE 2 (4 network passes)" in out, "without a prompt there is no pass for it"
    assert has_audio(tmp_path / "clip-audio.mp4") and not has_audio(video)
    assert probe(tmp_path / "clip-audio.mp4").seconds == pytest.approx(2)


def test_flags_reach_the_run(video, tmp_path, capsys):
    flags = ["--prompt", "a bell", "--negative-prompt", "wood", "--steps", "3", "--video-guidance", "0"]
    more = ["--text-guidance", "2", "--solver", "midpoint", "--time-shift", "2", "--seed", "5", "--device", "cpu"]
    last = ["--dtype", "fp32", "--loudness", "-30", "--out", "b.mp4", "--bundle", "mini"]
    status, out, err = run(capsys, "audio", video, *flags, *more, *last)
    assert status == 0 and "note" not in err and "NFE 6 (12 network passes)" in out
    made = json.loads(read_metadata(tmp_path / "b.mp4")["lumina_sound"])
    assert made["plan"] == {
        "steps": 3, "video_guidance": 0.0, "text_guidance": 2.0, "solver": "midpoint", "time_shift": 2.0,
    }  # fmt: skip
    assert (made["prompt"], made["negative_prompt"], made["seed"], made["loudness"]) == ("a bell", "wood", 5, -30.0)


@pytest.mark.slow
def test_parts_by_path_give_what_the_bundle_gives(video, shelf, tmp_path, capsys):
    sound = shelf / "mini" / "sound"
    parts = ["--model", sound, "--features", sound / "features", "--codec", sound / "codec"]
    assert run(capsys, "audio", video, *parts, *QUICK, "--out", "a.wav")[0] == 0
    assert run(capsys, "audio", video, "--bundle", shelf / "mini", *QUICK, "--out", "b.wav")[0] == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.slow
def test_features_are_saved_and_read(video, tmp_path, capsys):
    status, _, err = run(capsys, "audio", video, *QUICK, "--out", "a.wav", "--save-features", "seen.safetensors")
    assert status == 0 and "note: " in err and "seen.safetensors" in err
    assert run(capsys, "audio", video, *QUICK, "--out", "b.wav", "--features-file", "seen.safetensors")[0] == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    refused(
        capsys, "--features-file 'no.safetensors' does not exist", "audio", video, "--features-file", "no.safetensors"
    )
    refused(capsys, "has suffix '.txt'", "audio", video, "--save-features", "seen.txt")


def test_audio_models_that_do_not_exist(video, shelf, silent, tmp_path, monkeypatch, capsys):
    sound = shelf / "mini" / "sound"
    refused(capsys, "--features, --codec", "audio", video, "--model", sound)
    refused(capsys, "--codec", "audio", video, "--bundle", "mini", "--codec", sound)
    refused(capsys, "The bundle silent has no audio model", "audio", video, "--bundle", silent)
    parts = ["--features", sound / "features", "--codec", sound / "codec"]
    refused(capsys, "--model 'x' does not exist", "audio", video, "--model", "x", *parts)
    refused(capsys, "is not a Lumina-V2A audio model", "audio", video, "--model", video_model(shelf), *parts)
    monkeypatch.setattr("lumina_core.pipelines.bundle.SHIPPED", tmp_path)
    refused(capsys, "--bundle FOLDER", "audio", video)


def video_model(shelf) -> Path:
    return next((shelf / "mini" / "video").glob("*.safetensors"))


@pytest.mark.parametrize("flags, words", [
    (["--steps", "0"], "steps is 0"),
    (["--steps", "many"], "'many' is not a whole number"),
    (["--video-guidance", "-1"], "video_guidance is -1.0"),
    (["--solver", "dopri5"], "solver is 'dopri5'"),
    (["--loudness", "3"], "loudness is 3.0 LUFS"),
    (["--seed", "-1"], "seed is -1"),
    (["--out", "clip.gif"], "suffix '.gif'"),
    (["--volume", "3"], "--volume"),
])  # fmt: skip
def test_wrong_flags(video, tmp_path, capsys, flags, words):
    refused(capsys, words, "audio", video, *flags)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_wrong_videos(tmp_path, capsys):
    refused(capsys, "absent.mp4 does not exist", "audio", "absent.mp4")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    refused(capsys, "a.mp4 cannot be read as a video", "audio", "a.mp4")
    refused(capsys, "required: VIDEO", "audio")


def test_help_names_what_a_newcomer_needs(capsys):
    with pytest.raises(SystemExit) as left:
        main(["audio", "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for words in ("--prompt", "--video-guidance", "--save-features", "examples:", "lumina-video audio"):
        assert words in text
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "  audio  " in capsys.readouterr().out


@pytest.mark.slow
def test_generate_makes_a_video_with_audio(tmp_path, capsys):
    status, out, err = run(capsys, "generate", "--audio", "--prompt", "a cat", "--out", "a.mp4", *SHORT)
    assert status == 0 and out.startswith("64x64, 16 frames") and out.endswith(", with audio\na.mp4\n")
    assert err.count("note:") == 1, "one sentence says that the bundle is used"
    metadata = read_metadata(tmp_path / "a.mp4")
    assert json.loads(metadata["lumina_video"])["prompt"] == json.loads(metadata["lumina_sound"])["prompt"] == "a cat"
    assert read_audio(tmp_path / "a.mp4").shape[1] / 16000 == pytest.approx(2, abs=0.07)
    flags = ["--audio", "--audio-prompt", "a bell", "--seed", "3", "--bundle", "mini"]
    assert run(capsys, "generate", *flags, "--prompt", "a cat", "--out", "b.mp4", *SHORT)[0] == 0
    made = json.loads(read_metadata(tmp_path / "b.mp4")["lumina_sound"])
    assert (made["prompt"], made["seed"]) == ("a bell", 3)


def test_audio_of_several_clips_reads_the_weights_once(tmp_path, monkeypatch, capsys):
    from lumina_core.pipelines import audio_stages as module

    loaded = []
    for name in ("load_audio_model", "load_audio_codec", "load_feature_encoder"):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, _n=name, _f=original: loaded.append(_n) or _f(*given))
    status, _, _ = run(capsys, "generate", "--audio", "--prompt", "a cat", "--num", "2", "--out", "a.mp4", *SHORT)
    assert status == 0 and has_audio(tmp_path / "a-1.mp4") and has_audio(tmp_path / "a-2.mp4")
    assert sorted(loaded) == ["load_audio_codec", "load_audio_model", "load_feature_encoder"]


def test_generate_without_it_has_none(tmp_path, capsys):
    status, out, _ = run(capsys, "generate", "--prompt", "a cat", "--out", "a.mp4", *SHORT)
    assert status == 0 and "with audio" not in out and not has_audio(tmp_path / "a.mp4")


def test_generate_says_before_any_work_that_there_can_be_no_audio(silent, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lumina_core.cli.generate.write_clips", None)
    flags = ["generate", "--audio", "--prompt", "a cat"]
    refused(capsys, "The bundle silent has no audio model", *flags, "--bundle", silent)
    refused(capsys, "--audio is for videos, and --frames is 1", *flags, "--frames", "1")
    refused(capsys, "The clip is 800 s long", *flags, "--frames", "16", "--patch", "1x2", "--fps", "0.02")
    refused(capsys, "--audio-prompt needs --audio", "generate", "--prompt", "a cat", "--audio-prompt", "a bell")
    broken = shutil.copytree(silent, tmp_path / "broken")
    (broken / "sound" / "model.safetensors").unlink()
    (broken / DESCRIPTION).write_text(json.dumps(BUNDLE), encoding="utf-8")
    refused(capsys, "model.safetensors' does not exist", *flags, "--bundle", broken)


@pytest.mark.parametrize("stop, status, words", [
    (KeyboardInterrupt(), 130, "Interrupted; a.mp4"),
    (None, 2, "note: a.mp4"),
])  # fmt: skip
def test_audio_that_fails_leaves_the_video(tmp_path, monkeypatch, capsys, stop, status, words):
    from lumina_core import LuminaError

    def fail(*given):
        raise stop or LuminaError("The sound holds NaN.")

    monkeypatch.setattr("lumina_core.cli.generate.make_audio", fail)
    found, out, err = run(capsys, "generate", "--audio", "--prompt", "a cat", "--out", "a.mp4", *SHORT)
    assert (found, out) == (status, "") and words in err
    assert probe(tmp_path / "a.mp4").seconds == pytest.approx(2) and not has_audio(tmp_path / "a.mp4")


@pytest.mark.slow
def test_demo_ends_with_a_clip_with_audio(tmp_path, capsys, monkeypatch):
    made = []
    monkeypatch.setattr(demo, "audio_pipeline", lambda *given: made.append(audio_pipeline(*given)) or made[0])
    monkeypatch.setattr("lumina_core.pipelines.audio_file.audio_pipeline", None)
    status, out, err = run(capsys, "demo", "--points", "3", "--prompt", "a cat", "--scale", "2")
    assert status == 0 and out.splitlines()[-1] == "lumina-demo.mp4"
    assert "4 s of audio in" in out and "NFE 25" in out and "sampling the audio" in err
    assert has_audio(tmp_path / "lumina-demo.mp4") and probe(tmp_path / "lumina-demo.mp4").width == 128
    assert json.loads(read_metadata(tmp_path / "lumina-demo.mp4")["lumina_sound"])["prompt"] == "a cat"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["lumina-demo.mp4", "lumina-demo.png"]


@pytest.mark.slow
def test_demo_of_a_bundle_without_an_audio_model_or_with_no_audio_is_silent(silent, tmp_path, capsys):
    for flags in (["--bundle", silent], ["--no-audio"]):
        status, out, _ = run(capsys, "demo", "--points", "3", "--frames", "16", "--patch", "1x2", *flags)
        assert status == 0 and "of audio" not in out and not has_audio(tmp_path / "lumina-demo.mp4")


def test_no_command_or_flag_is_called_sound():
    commands = build_parser()._subparsers._group_actions[0].choices
    flags = [flag for command in commands.values() for action in command._actions for flag in action.option_strings]
    assert "audio" in commands and not [name for name in [*commands, *flags] if "sound" in name]
