"""Videos with sound into an encoded set: what codec and encoders make of each clip, and runs that are continued."""

import json
import math
from pathlib import Path

import pytest
import torch
from refusals import refused

from lumina_core.audio.codec_loader import load_audio_codec
from lumina_core.audio.features import load_feature_encoder
from lumina_core.audio.files import mux, read_audio
from lumina_core.audio.waveform import prepare
from lumina_core.cli import main
from lumina_core.evaluation.av_align import av_align_file
from lumina_core.media.writer import write_video
from lumina_core.train.audio import encode
from lumina_core.train.audio.encode import AudioEncodeSettings, encode_audio
from lumina_core.train.audio.shards import AudioSet, AudioShardWriter
from lumina_core.train.encoding import SKIPPED, EncodeObserver
from lumina_core.train.shards import INDEX
from lumina_core.train.sources import RawItem, read_source
from scripts.make_tiny_audio import write_codec, write_features

RATE = 16000
SETTINGS = AudioEncodeSettings(seconds=0.96)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folder of a tiny codec and of tiny encoders."""
    folder = tmp_path_factory.mktemp("parts")
    write_codec(folder / "codec", 1)
    write_features(folder / "features", 2)
    return folder


@pytest.fixture(scope="module")
def tools(parts):
    return load_audio_codec(parts / "codec"), load_feature_encoder(parts / "features")


def scored(path, waveform, start, seconds) -> float | None:
    """Stands for the AV-Align score: where the clip begins, and nothing for the clips that begin at once."""
    assert waveform.shape == (1, round(seconds * RATE))
    return start / 10 or None


@pytest.fixture(autouse=True)
def score(monkeypatch):
    monkeypatch.setattr(encode, "av_align_file", scored)


def film(path, seconds: float = 1.0, hertz: float | None = 440.0, late: float = 0.0, caption: str | None = "a bell"):
    """A video of noise with a tone from ``late`` seconds on, silent when hertz is 0, without any sound when None."""
    frames = torch.rand(round(seconds * 10), 32, 32, 3, generator=torch.Generator().manual_seed(len(path.name)))
    write_video(path, frames, 10)
    if hertz is not None:
        time = torch.arange(round(seconds * RATE)) / RATE
        tone = (0.3 * torch.sin(2 * math.pi * hertz * time) * (time >= late))[None]
        mux(path, tone, RATE, path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Four that give clips (five in all), and one of each kind that gives none."""
    data = tmp_path_factory.mktemp("data")
    film(data / "a.mp4")
    film(data / "b.mp4", seconds=2.9, hertz=880, late=1.1, caption="a drum")
    film(data / "c-lacks-little.mp4", seconds=0.8)
    film(data / "c-shorter.mp4", seconds=0.7)
    film(data / "d-silent.mp4", hertz=0)
    film(data / "e-mute.mp4", hertz=None)
    film(data / "f-short.mp4", seconds=0.5)
    film(data / "g-untold.mp4", caption=None)
    (data / "h-broken.mp4").write_bytes(b"no video")
    (data / "h-broken.txt").write_text("text")
    from PIL import Image

    Image.new("RGB", (64, 64)).save(data / "i.png")
    (data / "i.txt").write_text("a picture")
    return data


@pytest.fixture(scope="module")
def whole(mixed, tools, tmp_path_factory):
    """The folder and the result of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "av_align_file", scored)
        return out, encode_audio(read_source(mixed), *tools, out, SETTINGS)


def test_every_whole_clip_is_an_item(whole):
    found = AudioSet(whole[0])
    # The first clip of b is silent: its tone begins later.
    assert [(entry.name, entry.caption, entry.seconds) for entry in found.entries] == [
        ("a.mp4@0", "a bell", 0.96), ("b.mp4@0.96", "a drum", 0.96), ("b.mp4@1.92", "a drum", 0.96),
        ("c-lacks-little.mp4@0", "a bell", 0.96), ("c-shorter.mp4@0", "a bell", 0.64),
    ]  # fmt: skip
    assert [entry.av_align for entry in found.entries] == [None, pytest.approx(0.096), pytest.approx(0.192), None, None]
    for entry, (rows, frames, segments) in zip(found.entries, [(24, 8, 2)] * 4 + [(16, 5, 1)], strict=True):
        assert (entry.mean[1], entry.visual[0], entry.sync[0]) == (rows, frames, segments)


@pytest.mark.parametrize(
    ("seconds", "starts", "length"),
    [(8.0, [0], 8), (7.85, [0], 8), (10.0, [0], 8), (15.9, [0, 8], 8), (24.0, [0, 8, 16], 8), (7.7, [0], 7.68),
     (0.64, [0], 0.64), (5.0, [0], 4.8)],
)  # fmt: skip
def test_a_file_gives_a_clip_each_length_or_one_that_is_shorter(seconds, starts, length):
    item = RawItem("x.mp4", Path("x.mp4"), "", "video")
    parts = encode.split_into_clips(item, seconds, AudioEncodeSettings())
    assert [(part.start, part.seconds) for part in parts] == [(start, pytest.approx(length)) for start in starts]
    assert [part.name for part in parts] == [f"x.mp4@{start}" for start in starts]


def test_what_gives_no_clip_is_listed_with_a_reason(whole):
    lines = (whole[0] / SKIPPED).read_text(encoding="utf-8").splitlines()
    assert {record["name"]: record["error"] for record in map(json.loads, lines)} == whole[1].skipped
    told = {
        "b.mp4@0": "is silent from 0 s to 0.96 s",
        "d-silent.mp4@0": "is silent",
        "e-mute.mp4": "has no audio",
        "f-short.mp4": "has 0.50 s",
        "g-untold.mp4": "has no caption",
        "h-broken.mp4": "cannot be read",
        "i.png": "is an image",
    }
    assert whole[1].skipped.keys() == told.keys() and (whole[1].items, whole[1].added) == (5, 5)
    for name, words in told.items():
        assert words in whole[1].skipped[name] and "\n" not in whole[1].skipped[name]


def test_an_item_is_what_codec_and_encoders_make_of_its_part_of_the_file(mixed, whole, tools):
    codec, encoder = tools
    item = AudioSet(whole[0]).item(2)
    sound = read_audio(mixed / "b.mp4")[:, round(1.92 * RATE) : round(2.88 * RATE)]
    mean, std = codec.posterior(prepare(sound))
    features = encoder.file(mixed / "b.mp4", 1.92, 0.96)
    text, mask = encoder.text(["a drum"])
    wanted = (mean[0], std[0], features.visual[0], features.sync[0], text[0][mask[0]])
    for name, tensor in zip(("mean", "std", "visual", "sync", "text"), wanted, strict=True):
        torch.testing.assert_close(getattr(item, name), tensor, rtol=2e-3, atol=2e-3)
    other = AudioSet(whole[0]).item(1)
    assert not torch.allclose(item.visual, other.visual, atol=1e-3) and not torch.equal(item.mean, other.mean)


def test_the_score_is_that_of_the_clip_and_its_sound(tools, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "av_align_file", av_align_file)
    path = film(tmp_path / "a.mp4", seconds=2.0, late=1.4)
    encode_audio(read_source(tmp_path), *tools, tmp_path / "out", SETTINGS)
    (entry,) = AudioSet(tmp_path / "out").entries
    sound = read_audio(path)[:, round(0.96 * RATE) : round(1.92 * RATE)]
    wanted = av_align_file(path, sound, 0.96, 0.96)
    assert entry.name == "a.mp4@0.96" and wanted is not None and entry.av_align == pytest.approx(wanted)


def contents(out) -> dict[str, dict]:
    found = AudioSet(out)
    return {entry.name: vars(found.item(index)) for index, entry in enumerate(found.entries)}


def assert_equal_sets(left, right) -> None:
    left, right = contents(left), contents(right)
    assert list(left) == list(right)
    for name, item in right.items():
        for field, value in item.items():
            assert torch.equal(left[name][field], value) if torch.is_tensor(value) else left[name][field] == value


class Killed(BaseException):
    """As a kill: nothing is tidied up."""


class Stops(EncodeObserver):
    def __init__(self, after, error):
        self.after, self.error = after, error

    def item(self, name):
        self.after -= 1
        if not self.after:
            raise self.error


@pytest.mark.parametrize(("after", "error", "saved"), [
    (1, KeyboardInterrupt(), 1), (2, RuntimeError("out of memory"), 3), (2, Killed(), 2), (8, Killed(), 4),
], ids=str)  # fmt: skip
def test_a_stopped_run_is_continued(mixed, tools, whole, tmp_path, monkeypatch, after, error, saved):
    monkeypatch.setattr(encode, "AudioShardWriter", lambda folder: AudioShardWriter(folder, items_per_shard=2))
    source = read_source(mixed)
    with pytest.raises(type(error)):
        encode_audio(source, *tools, tmp_path, SETTINGS, Stops(after, error))
    assert len(AudioSet(tmp_path)) == saved
    result = encode_audio(source, *tools, tmp_path, SETTINGS)
    assert (result.items, result.added, result.skipped) == (5, 5 - saved, whole[1].skipped)
    assert_equal_sets(tmp_path, whole[0])
    assert not list(tmp_path.glob("*.part*"))


def test_a_finished_file_is_not_read_again(mixed, tools, whole, monkeypatch):
    read = []
    monkeypatch.setattr(encode, "read_audio", lambda path: read.append(path.name) or read_audio(path))
    before = (whole[0] / INDEX).read_bytes()
    assert encode_audio(read_source(mixed), *tools, whole[0], SETTINGS).added == 0
    assert (whole[0] / INDEX).read_bytes() == before and not {"a.mp4", "c-shorter.mp4"} & set(read)


def test_changed_captions_are_told_and_the_old_ones_stay(tools, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4")
    encode_audio(read_source(data), *tools, tmp_path / "out", SETTINGS)
    (data / "a.txt").write_text("a gong")
    notes = []
    observer = EncodeObserver()
    observer.note = notes.append
    encode_audio(read_source(data), *tools, tmp_path / "out", SETTINGS, observer)
    assert len(notes) == 1 and "1 captions have changed" in notes[0] and "that of a.mp4" in notes[0]
    assert AudioSet(tmp_path / "out").entries[0].caption == "a bell"


def test_a_set_is_not_continued_otherwise(tools, parts, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4")
    encode_audio(read_source(data), *tools, tmp_path / "out", SETTINGS)
    write_codec(tmp_path / "codec", 7)
    write_features(tmp_path / "features", 8)
    others = load_audio_codec(tmp_path / "codec"), load_feature_encoder(tmp_path / "features")
    for codec, encoder, settings, fact in (
        (others[0], tools[1], SETTINGS, "another codec"),
        (tools[0], others[1], SETTINGS, "another CLIP, another sync encoder"),
        (*tools, AudioEncodeSettings(seconds=0.64), "seconds 0.96"),
    ):
        with refused("out", "mismatch", fact):
            encode_audio(read_source(data), codec, encoder, tmp_path / "out", settings)


def test_only_files_that_give_nothing_are_an_error(tools, tmp_path):
    film(tmp_path / "a.mp4", hertz=0)
    film(tmp_path / "b.mp4", hertz=None)
    with refused("data", "file", "2 files", "skipped.jsonl", "a.mp4 is silent"):
        encode_audio(read_source(tmp_path), *tools, tmp_path / "out", SETTINGS)


@pytest.mark.parametrize("seconds", [0.5, 61.0, math.nan, -1.0])
def test_bad_lengths(seconds):
    with refused("seconds", "value", "0.64 to 60 s"):
        AudioEncodeSettings(seconds=seconds)


def test_the_command(parts, tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4")
    out = tmp_path / "out"
    given = ["--audio", str(parts / "features"), "--codec", str(parts / "codec")]
    line = ["encode", str(data), *given, "--out", str(out), "--seconds", "0.96", "--device", "cpu"]
    assert main(line) == 0
    assert capsys.readouterr().out.splitlines() == ["1 samples, 1 of them encoded now", str(out)]
    film(data / "b.mp4", hertz=0)
    assert main(line) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["1 samples, 0 of them encoded now", str(out)] and "skipped b.mp4@0: " in said.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "or both --audio and --codec"),
        (["--audio", "x"], "or both --audio and --codec"),
        (["--codec", "x"], "or both --audio and --codec"),
        (["--vae", "x", "--audio", "x", "--codec", "x"], "Give --vae"),
        (
            ["--audio", "x", "--codec", "x", "--fps", "8"],
            "--fps is for",
        ),
        (["--audio", "x", "--codec", "nowhere"], "--codec 'nowhere' does not exist"),
    ],
)
def test_flags_that_do_not_go_together(flags, words, tmp_path, capsys):
    film(tmp_path / "a.mp4", hertz=None)
    assert main(["encode", str(tmp_path), *flags, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()
