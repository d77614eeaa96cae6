"""From files to an encoded set: which frames, which files, and what a run that ended early leaves behind."""

import errno
import json
import logging

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from refusals import refused
from video_frames import read_frames

from lumina_core.cli import main
from lumina_core.cli.encode import EncodeProgress
from lumina_core.media.motion_score import file_motion_score
from lumina_core.media.writer import write_video
from lumina_core.shapes.resolutions import area_sizes, nearest_size
from lumina_core.train import encode, encoding
from lumina_core.train.clips import EncodeSettings
from lumina_core.train.crop import crop_to
from lumina_core.train.encode import SKIPPED, EncodeObserver, encode_source
from lumina_core.train.shards import EncodedSet
from lumina_core.train.sources import read_source
from lumina_core.vae.codec import VideoVAE
from lumina_core.vae.compact import CompactVAE, CompactVAEConfig
from lumina_core.vae.loader import SCALE, load_video_vae

SETTINGS = EncodeSettings(size=64, fps=8, seconds=4)


@pytest.fixture(autouse=True)
def quiet():
    """FFmpeg tells of broken files on its own; the sentence is what counts."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)


@pytest.fixture(scope="module")
def vae():
    return small_vae(0)


def small_vae(seed):
    torch.manual_seed(seed)
    module = CompactVAE(CompactVAEConfig(latent_channels=4, wide=8, narrow=8, depth=1))
    return VideoVAE(module.eval().requires_grad_(False))


def moving(count, width=96, height=64):
    """A random picture that slides by a pixel each frame."""
    picture = torch.rand(height // 4, width // 4, 3, generator=torch.Generator().manual_seed(0))
    picture = picture.repeat_interleave(4, 0).repeat_interleave(4, 1)
    return torch.stack([picture.roll(number, 1) for number in range(count)])


def captioned(path, text=None):
    path.with_suffix(".txt").write_text(text or f"Caption of {path.name}", encoding="utf-8")
    return path


def film(path, fps=8, seconds=2.0, width=96, height=64):
    write_video(path, moving(round(fps * seconds), width, height), fps)
    return captioned(path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder of good and broken files of all sorts."""
    folder = tmp_path_factory.mktemp("mixed")
    film(folder / "a wide.mp4", 24, 1.5, 160, 48)
    film(folder / "b 风筝 ü.mp4", 8, 2.2)
    film(folder / "c tall.mkv.mp4", 29.97, 1.3, 64, 128)
    film(folder / "d long.mp4", 10, 6)
    Image.fromarray(np.full((90, 70, 3), 99, np.uint8)).save(captioned(folder / "e.png"))
    data = (folder / "d long.mp4").read_bytes()
    captioned(folder / "f cut.mp4").write_bytes(data[: data.index(b"mdat") + 100])
    captioned(folder / "g text.mp4").write_text("not a video")
    captioned(folder / "h text.png").write_text("not an image")
    film(folder / "i slow.mp4", 3, 4)
    film(folder / "j short.mp4", 8, 1.0)
    film(folder / "k small.mp4", 8, 2, 64, 60)
    Image.new("RGB", (64, 60)).save(captioned(folder / "l small.png"))
    film(folder / "m silent.mp4").with_suffix(".txt").unlink()
    return folder


GOOD = ["a wide.mp4", "b 风筝 ü.mp4", "c tall.mkv.mp4", "d long.mp4", "e.png"]
BROKEN = {
    "f cut.mp4": "cannot be read as a video",
    "g text.mp4": "cannot be read as a video",
    "h text.png": "cannot be read as an image",
    "i slow.mp4": "3 frames per second, expected at least 4",
    "j short.mp4": "8 frames at 8 fps, expected at least 9",
    "k small.mp4": "64x60 pixels, expected the area of 64x64",
    "l small.png": "64x60 pixels, expected the area of 64x64",
    "m silent.mp4": "has no caption",
}


def contents(folder):
    """All that an encoded set says, without how it is spread over shards."""
    found = EncodedSet(folder)
    return [
        (entry.name, entry.kind, entry.caption, entry.motion, entry.fps, entry.shape, found.latents(index).tolist())
        for index, entry in enumerate(found.entries)
    ]


def test_a_mixed_folder(mixed, vae, tmp_path):
    seen = []

    class Observer(EncodeObserver):
        def begin(self, items, done):
            seen.append((items, done))

        def item(self, name):
            seen.append(name)

    result = encode_source(read_source(mixed), vae, tmp_path / "out", SETTINGS, Observer())
    assert (result.items, result.added) == (5, 5) and set(result.skipped) == set(BROKEN)
    for name, words in BROKEN.items():
        assert words in result.skipped[name] and "\n" not in result.skipped[name]
    listed = [json.loads(line) for line in (tmp_path / "out" / SKIPPED).read_text(encoding="utf-8").splitlines()]
    assert {record["name"]: record["error"] for record in listed} == result.skipped
    assert seen == [(12, 0), *GOOD, *(name for name in BROKEN if name != "m silent.mp4")]

    found = EncodedSet(tmp_path / "out")
    assert [entry.name for entry in found.entries] == GOOD
    assert [entry.caption for entry in found.entries] == [f"Caption of {name}" for name in GOOD]
    assert [entry.fps for entry in found.entries] == [8, 8, 8, 8, None]
    shapes = [(4, 2, 4, 12), (4, 4, 4, 8), (4, 2, 8, 4), (4, 8, 4, 8), (4, 1, 8, 8)]
    assert [entry.shape for entry in found.entries] == shapes


def test_latents_are_those_of_the_frames(mixed, vae, whole):
    found = EncodedSet(whole[0])
    for index, (name, count) in enumerate(zip(GOOD[:4], [9, 17, 9, 33], strict=True)):
        frames = read_frames(mixed / name, [i / 8 for i in range(count)])
        size = nearest_size(frames.shape[2], frames.shape[1], area_sizes(64))
        bytes_of = crop_to((frames * 255).round().byte(), size)
        expected = vae.encode(bytes_of.float() / 255)[0, :, 1:]
        torch.testing.assert_close(found.latents(index), expected.half().float(), rtol=0, atol=0)
        assert found.entries[index].motion == file_motion_score(mixed / name, seconds=count / 8)
    assert found.entries[4].motion is None


def test_latents_are_those_of_diffusers_without_the_first(tiny_set, tmp_path):
    from diffusers import AutoencoderKLCogVideoX

    reference = AutoencoderKLCogVideoX.from_pretrained(tiny_set.vae)
    data = tmp_path / "data"
    data.mkdir()
    for name, seconds, count in (("a.mp4", 1.2, 9), ("b.mp4", 3, 17)):
        film(data / name, 8, seconds, 64, 64)
        frames = read_frames(data / name, [i / 8 for i in range(count)])
        with torch.no_grad():
            posterior = reference.encode((frames * 2 - 1).permute(3, 0, 1, 2)[None]).latent_dist
        (data / name).with_suffix(".expected").write_bytes(
            safetensors.torch.save({"z": (posterior.mode()[0, :, 1:] * SCALE).contiguous()})
        )
    encode_source(read_source(data), load_video_vae(tiny_set.vae), tmp_path / "out", SETTINGS)
    found = EncodedSet(tmp_path / "out")
    assert [entry.shape for entry in found.entries] == [(16, frames, 8, 8) for frames in (2, 4)]
    for index, entry in enumerate(found.entries):
        expected = safetensors.torch.load((data / entry.name).with_suffix(".expected").read_bytes())["z"]
        torch.testing.assert_close(found.latents(index), expected, rtol=1e-3, atol=1e-3)  # kept in 16 bits


class Killed(BaseException):
    """As a kill: nothing is tidied up."""


class Stops(EncodeObserver):
    def __init__(self, after, error):
        self.after, self.error = after, error

    def item(self, name):
        self.after -= 1
        if not self.after:
            raise self.error


@pytest.fixture(scope="module")
def whole(mixed, vae, tmp_path_factory):
    """The folder and the result of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole")
    return out, encode_source(read_source(mixed), vae, out, SETTINGS)


@pytest.mark.parametrize("after, error", [
    (1, Killed()), (3, Killed()), (9, Killed()), (2, KeyboardInterrupt()), (12, RuntimeError("out of memory")),
], ids=str)  # fmt: skip
def test_a_stopped_run_is_continued(mixed, vae, whole, tmp_path, monkeypatch, after, error):
    monkeypatch.setattr(encode, "_SHARD_ITEMS", 2)
    source, out = read_source(mixed), tmp_path
    with pytest.raises(type(error)):
        encode_source(source, vae, out, SETTINGS, Stops(after, error))
    saved = EncodedSet(out).entries if (out / "index.jsonl").exists() else []
    if isinstance(error, Killed):
        assert len(saved) == min(after, 5) // 2 * 2
    else:
        assert len(saved) == min(after, 5)
    result = encode_source(source, vae, out, SETTINGS)
    assert result.items == 5 and result.added == 5 - len(saved) and result.skipped == whole[1].skipped
    assert contents(out) == contents(whole[0])
    assert (out / SKIPPED).read_text() == (whole[0] / SKIPPED).read_text()
    assert not list(out.glob("*.part*"))


def test_a_finished_run_does_nothing_again(mixed, vae, whole):
    def stamps():
        return {file.name: file.stat().st_mtime_ns for file in whole[0].iterdir() if file.name != SKIPPED}

    before = stamps()
    assert encode_source(read_source(mixed), vae, whole[0], SETTINGS).added == 0
    assert stamps() == before


def test_time_alone_makes_a_run_save(mixed, vae, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_SHARD_SECONDS", 0.0)
    with pytest.raises(Killed):
        encode_source(read_source(mixed), vae, tmp_path, SETTINGS, Stops(3, Killed()))
    assert len(EncodedSet(tmp_path)) == 3


@pytest.mark.parametrize("kind", [OSError(errno.ENOSPC, "No space left on device"), "safetensors"], ids=str)
def test_a_full_disk_is_told_and_what_was_saved_stays(mixed, vae, whole, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(encode, "_SHARD_ITEMS", 2)
    room = [True]
    save = safetensors.torch.save_file

    def full(tensors, path, *rest):
        if not room:
            path.write_bytes(b"half")
            raise safetensors.SafetensorError("I/O error: No space left") if kind == "safetensors" else kind
        room.pop()
        save(tensors, path, *rest)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    source = read_source(mixed)
    with refused("out", "resource") as caught:
        encode_source(source, vae, tmp_path / "out", SETTINGS)
    assert "\n" not in str(caught.value) and len(EncodedSet(tmp_path / "out")) == 2
    monkeypatch.setattr(safetensors.torch, "save_file", save)
    assert encode_source(source, vae, tmp_path / "out", SETTINGS).added == 3
    assert contents(tmp_path / "out") == contents(whole[0])


def test_only_broken_files_are_an_error(vae, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a.mp4", "b.mp4"):
        captioned(data / name).write_text("text")
    with refused("data", "file", "2", "skipped.jsonl", "a.mp4"):
        encode_source(read_source(data), vae, tmp_path / "out", SETTINGS)
    film(data / "b.mp4")
    assert encode_source(read_source(data), vae, tmp_path / "out", SETTINGS).added == 1


def test_a_set_is_not_continued_otherwise(tmp_path, vae):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4")
    source = read_source(data)
    encode_source(source, vae, tmp_path / "out", SETTINGS)
    for other, settings, words in (
        (vae, EncodeSettings(size=96), "size 64"),
        (vae, EncodeSettings(size=64, fps=9), "fps 8"),
        (vae, EncodeSettings(size=64, seconds=2), "seconds 4"),
        (small_vae(1), SETTINGS, "another VAE"),
    ):
        with refused("out", "mismatch", words):
            encode_source(source, other, tmp_path / "out", settings)
    (tmp_path / "out" / encoding.SETTINGS).write_text("[]")
    with refused("out", "file"):
        encode_source(source, vae, tmp_path / "out", SETTINGS)
    (tmp_path / "out" / encoding.SETTINGS).unlink()
    with refused("out", "file", "encode.json"):
        encode_source(source, vae, tmp_path / "out", SETTINGS)


def test_the_vae_is_the_same_in_another_number_format(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4")
    source = read_source(data)
    encode_source(source, small_vae(0), tmp_path / "out", SETTINGS)
    half = small_vae(0)
    half.module.to(torch.bfloat16)
    assert encode_source(source, half, tmp_path / "out", SETTINGS).added == 0


class Notes(EncodeObserver):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_new_captions_are_not_passed_over_in_silence(tmp_path, vae):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4"), film(data / "b.mp4")
    encode_source(read_source(data), vae, tmp_path / "out", SETTINGS)
    captioned(data / "b.mp4", "Another")
    observer = Notes()
    encode_source(read_source(data), vae, tmp_path / "out", SETTINGS, observer)
    assert len(observer.notes) == 1 and "1 captions have changed" in observer.notes[0] and "b.mp4" in observer.notes[0]


def test_given_scores_are_not_mixed_with_measured_ones(tmp_path, vae):
    film(tmp_path / "a.mp4"), film(tmp_path / "b.mp4")
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"path": "a.mp4", "caption": "A", "unimatch_flow": 7}\n{"path": "b.mp4", "caption": "B"}\n')
    observer = Notes()
    encode_source(read_source(listed), vae, tmp_path / "out", SETTINGS, observer)
    assert [entry.motion for entry in EncodedSet(tmp_path / "out").entries] == [7.0, None]
    assert len(observer.notes) == 1 and observer.notes[0].startswith("1 of 2 clips have no motion score")


def test_a_clip_too_short_for_a_score_has_none(tmp_path, vae):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4", 24, 0.45)
    film(data / "b.mp4", 24, 1)
    encode_source(read_source(data), vae, tmp_path / "out", EncodeSettings(size=64, fps=24))
    first, second = EncodedSet(tmp_path / "out").entries
    assert first.motion is None and first.shape[1] == 2 and second.motion > 0


def test_latents_that_are_not_finite_are_skipped(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4")
    broken = small_vae(0)
    broken.module.encoder.write.bias.data.fill_(float("nan"))
    with refused("data", "file", "a.mp4", "float32"):
        encode_source(read_source(data), broken, tmp_path / "out", SETTINGS)


def test_the_command(mixed, tiny_set, tmp_path, capsys, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    film(data / "a.mp4", 8, 1.2, 64, 64)
    out = tmp_path / "out"
    line = ["encode", str(data), "--vae", str(tiny_set.vae), "--out", str(out), "--size", "64", "--device", "cpu"]
    assert main(line) == 0
    assert capsys.readouterr().out.splitlines() == ["1 samples, 1 of them encoded now", str(out)]
    captioned(data / "b.mp4").write_text("text")
    (data / "s.jsonl").write_text('{"path": "a.mp4", "motion": 3}\n')
    assert main([*line, "--scores", str(data / "s.jsonl")]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["1 samples, 0 of them encoded now", str(out)]
    assert "skipped b.mp4: " in said.err and "cannot be read as a video" in said.err
    assert main([*line, "--fps", "12"]) == 2
    assert "was encoded with fps 8" in capsys.readouterr().err

    def interrupted(self, items, done):
        raise KeyboardInterrupt

    monkeypatch.setattr(EncodeProgress, "begin", interrupted)
    assert main(line) == 130
    assert "Run the same command again to resume" in capsys.readouterr().err
    assert main(["encode", str(tmp_path / "none"), "--vae", "x", "--out", str(out)]) == 2
    assert "does not exist; give a folder" in capsys.readouterr().err
