"""Which frames come out of video files, told by numbers drawn into the pictures."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from refusals import refused
from video_frames import read_frames

import lumina_core.media.reader
from lumina_core.media.reader import frames_at, probe
from lumina_core.media.writer import write_video

BITS = 8


def numbered(count, height=32, width=64):
    """Frames that show their number as eight black or white columns."""
    bits = (torch.arange(count)[:, None] >> torch.arange(BITS)) & 1
    row = bits.repeat_interleave(width // BITS, dim=1)[:, None, :, None].float()
    return row.expand(count, height, width, 3).contiguous()


def number_of(frame):
    """The number of a frame (H, W, 3) of bytes."""
    side = frame.shape[1] // BITS
    bits = (frame[frame.shape[0] // 2, side // 2 :: side, 0] > 127).long()
    return int((bits << torch.arange(BITS)).sum())


def numbers_at(path, times):
    return [number_of(frame) for frame in frames_at(path, times)]


def write(path, stamps, codec="libx264", fmt=None, thousandths=1000, keyframes=12, start=0):
    """A file of numbered frames shown at the given seconds, by any codec and container of FFmpeg."""
    with av.open(path, "w", format=fmt) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, thousandths)
        stream.codec_context.gop_size = keyframes
        for stamp, picture in zip(stamps, numbered(len(stamps)).mul(255).byte().numpy(), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round((stamp + start) * thousandths), Fraction(1, thousandths)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("fps", [1, 8, 23.976, 24, 29.97, 60])
def test_nearest_frames_at_any_rate(tmp_path, fps):
    count = min(250, round(4.2 * fps) + 1)
    path = write_video(tmp_path / "a.mp4", numbered(count), fps).path
    times = [0.0, 0.1, 0.45, 0.9, 1.0, 1.7, 3.3, 3.9]
    # No time lies half way between two frames at these rates.
    assert numbers_at(path, times) == [round(time * fps) for time in times]


def test_variable_rate_goes_by_timestamps(tmp_path):
    stamps = [0, 0.1, 0.5, 0.52, 0.54, 2.0, 2.04, 3.0]
    path = write(tmp_path / "a.mkv", stamps)
    times = [0.0, 0.2, 0.4, 0.53, 1.2, 1.4, 2.03, 2.9]
    nearest = [min(range(len(stamps)), key=lambda n: (abs(stamps[n] - time), -n)) for time in times]
    assert numbers_at(path, times) == nearest


def test_times_count_from_the_first_frame(tmp_path):
    path = write(tmp_path / "a.ts", [n / 25 for n in range(50)], start=7)
    assert numbers_at(path, [0.0, 0.4, 1.0]) == [0, 10, 25]


@pytest.mark.parametrize("name, codec", [
    ("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"),
])  # fmt: skip
def test_a_late_start_gives_the_same_frames_as_decoding_all(tmp_path, name, codec):
    path = write(tmp_path / name, [n / 25 for n in range(200)], codec)
    late = [5.0, 5.0, 5.48, 7.2, 7.96]
    assert numbers_at(path, late) == numbers_at(path, [0.0, *late])[1:] == [125, 125, 137, 180, 199]


def test_a_stream_without_timestamps_is_counted(tmp_path):
    path = write(tmp_path / "a.h264", [n / 25 for n in range(100)], fmt="h264", thousandths=25)
    assert numbers_at(path, [0.0, 1.0, 3.0]) == [0, 25, 75]
    assert probe(path).seconds == pytest.approx(4, abs=0.1)


def test_the_video_ends_half_an_interval_after_its_last_frame(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(11), 10).path
    assert numbers_at(path, [0.0, 1.0, 1.04]) == [0, 10, 10]
    assert numbers_at(path, [0.0, 1.0, 1.06, 5.0]) == [0, 10]
    assert numbers_at(path, [9.0]) == numbers_at(path, []) == []


def test_no_more_is_decoded_than_needed(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", [n / 25 for n in range(200)], keyframes=10)
    timed, decoded = lumina_core.media.reader._timed, []

    def watched(*arguments):
        for at, frame in timed(*arguments):
            decoded.append(at)
            yield at, frame

    monkeypatch.setattr(lumina_core.media.reader, "_timed", watched)
    list(frames_at(path, [0.0, 0.48]))
    assert decoded == pytest.approx([n / 25 for n in range(13)])
    decoded.clear()
    list(frames_at(path, [7.2]))
    # From the keyframe at or before a second earlier.
    assert 5.6 <= decoded[0] <= 6.2 and decoded[-1] == pytest.approx(7.2)


def test_probe(tmp_path):
    info = probe(write_video(tmp_path / "a.mp4", numbered(60, 48, 64), 29.97).path)
    assert (info.width, info.height) == (64, 48)
    assert info.fps == pytest.approx(29.97) and info.seconds == pytest.approx(60 / 29.97)


def test_probe_of_a_file_without_a_length(tmp_path):
    path = tmp_path / "live.mkv"

    class Pipe:
        """Written as to a pipe: the length cannot be filled in afterwards."""

        def __init__(self):
            self.file = path.open("wb")

        def write(self, data):
            return self.file.write(data)

    pipe = Pipe()
    write(pipe, [n / 25 for n in range(50)], fmt="matroska")
    pipe.file.close()
    with av.open(path) as container:
        assert container.duration is None and container.streams.video[0].duration is None
    assert probe(path).seconds == pytest.approx(2, abs=0.05)


ROTATIONS = {  # matrix in the file, and what the player does to the stored picture
    90: ((0, 1, -1, 0), lambda picture: torch.rot90(picture, -1)),
    180: ((-1, 0, 0, -1), lambda picture: torch.rot90(picture, 2)),
    270: ((0, -1, 1, 0), lambda picture: torch.rot90(picture, 1)),
}


@pytest.mark.parametrize("degrees", ROTATIONS)
def test_phone_video_is_turned_as_it_is_shown(tmp_path, degrees):
    path = write_video(tmp_path / "a.mp4", numbered(12), 8).path
    upright = read_frames(path, [0.625])[0]
    (a, b, c, d), turn = ROTATIONS[degrees]
    data = bytearray(path.read_bytes())
    # The matrix of the track header, eight 16.16 numbers and one 2.30 number, 40 bytes into its body.
    place = data.index(b"tkhd") + 4 + 40
    matrix = [(a, 16), (b, 16), (0, 30), (c, 16), (d, 16), (0, 30), (0, 16), (0, 16), (1, 30)]
    data[place : place + 36] = b"".join((value << shift).to_bytes(4, "big", signed=True) for value, shift in matrix)
    path.write_bytes(data)
    turned = read_frames(path, [0.625])[0]
    assert torch.equal(turned, turn(upright))
    assert (probe(path).width, probe(path).height) == (turned.shape[1], turned.shape[0])


COLORS = ((30, 80, 220), (220, 60, 30))


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("height, tag, matrix", [
    (32, 1, "ITU709"), (32, 5, "ITU601"), (32, 2, "ITU601"), (720, 2, "ITU709"), (720, 5, "ITU601"),
])  # fmt: skip
def test_colors_follow_the_tag_or_the_size(tmp_path, color, height, tag, matrix):
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, height, "yuv420p"
        stream.codec_context.colorspace = tag
        stream.options = {"crf": "4"}
        picture = np.full((height, 32, 3), color, np.uint8)
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            # The right matrix is only sure to be used where source and target differ.
            source = "ITU601" if matrix == "ITU709" else "ITU709"
            container.mux(stream.encode(frame.reformat(format="yuv420p", src_colorspace=source, dst_colorspace=matrix)))
        container.mux(stream.encode())
    found = read_frames(path, [0.0])[0, height // 2, 16] * 255
    assert (found - torch.tensor(color)).abs().max() < 4


@pytest.mark.parametrize("times", [[-0.1], [float("nan")], [float("inf")], [1.0, 0.5]])
def test_bad_times(tmp_path, times):
    with refused("times"):
        list(frames_at(write_video(tmp_path / "a.mp4", numbered(8), 8).path, times))


def sound_only(path):
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=44100)
        samples = np.zeros((1, 1024), np.float32)
        for number in range(10):
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def cut_off(path):
    write_video(path, torch.rand(60, 64, 64, 3, generator=torch.Generator().manual_seed(0)), 24)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 40])  # the index at the front, and hardly a picture


def headless(path):
    write_video(path, numbered(24), 24)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov")] + data[data.index(b"mdat") - 4 :])


BROKEN = {
    "text": (lambda path: path.write_text("not a video"), "file"),
    "empty": (lambda path: path.write_bytes(b""), "file"),
    "no index": (headless, "file"),
    "cut off": (cut_off, "file"),
    "sound": (sound_only, "file"),
    "missing": (lambda path: None, "missing"),
    "folder": (lambda path: path.mkdir(), "missing"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("read", [probe, lambda path: list(frames_at(path, [0.0, 0.5]))], ids=["probe", "frames_at"])
def test_broken_files_are_named_in_one_sentence(tmp_path, case, read):
    make, kind = BROKEN[case]
    make(tmp_path / "broken.mp4")
    with refused("video", kind, "broken.mp4") as caught:
        read(tmp_path / "broken.mp4")
    assert "\n" not in str(caught.value)


@pytest.fixture(autouse=True)
def quiet():
    """FFmpeg tells of broken files on its own; the sentence is what counts."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)
