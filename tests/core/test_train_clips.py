"""Which frames of a video, and which pixels of a picture, are encoded to train on."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused

from lumina_core.media.writer import write_video
from lumina_core.train.clips import EncodeSettings, read_clip, read_still

SETTINGS = EncodeSettings(size=64, fps=8, seconds=4)


@pytest.fixture(autouse=True)
def quiet():
    """FFmpeg tells of broken files on its own; the sentence is what counts."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)


def brightening(count, width=96, height=64):
    """Frames that grow brighter by equal steps, so that each tells its number."""
    return torch.linspace(0, 1, count)[:, None, None, None].expand(count, height, width, 3)


# frames: int(seconds * 8 + 0.2), at most 33, cut to 8n + 1
LENGTHS = [
    (24, 51, 17), (29.97, 36, 9), (60, 270, 33), (25, 100, 25), (25, 104, 33), (5, 15, 17), (4, 12, 17), (8, 9, 9),
    (8, 16, 9), (8, 17, 17), (23.976, 75, 25),
]  # fmt: skip


@pytest.mark.parametrize("fps, count, expected", LENGTHS)
def test_frames_of_a_clip_are_the_nearest_in_time(tmp_path, fps, count, expected):
    path = write_video(tmp_path / "a.mp4", brightening(count), fps).path
    frames = read_clip(path, SETTINGS)
    assert frames.shape == (expected, 32, 64, 3) and frames.dtype == torch.float32
    # Frame k is k / (count - 1) bright; the codec and 8 bits cost the rest.
    numbers = frames.mean(dim=(1, 2, 3)) * (count - 1)
    times = torch.arange(expected) / 8 * fps
    assert (numbers - times).abs().max() < 0.5 + 0.02 * (count - 1)


def test_a_variable_frame_rate_goes_by_timestamps(tmp_path):
    stamps = [0, 0.1, 0.3, 0.34, 0.5, 0.9, 1.0, 1.5, 1.6, 1.7, 1.75, 1.8, 1.9, 2.0, 2.3]
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, stamp in enumerate(stamps):
            picture = np.full((64, 64, 3), 18 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(1000 * stamp), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = read_clip(path, SETTINGS)
    numbers = (frames.mean(dim=(1, 2, 3)) * 255 / 18).round().int().tolist()
    nearest = [min(range(len(stamps)), key=lambda n: (abs(stamps[n] - i / 8), -n)) for i in range(len(frames))]
    assert len(frames) == 17 and numbers == nearest


def test_the_whole_clip_can_be_used(tmp_path):
    path = write_video(tmp_path / "a.mp4", brightening(80), 8).path
    assert len(read_clip(path, EncodeSettings(size=64, seconds=float("inf")))) == 73
    assert len(read_clip(path, EncodeSettings(size=64, seconds=6))) == 49
    assert len(read_clip(path, EncodeSettings(size=64, fps=16, seconds=2))) == 33


def test_what_is_left_of_a_cut_off_file_is_used(tmp_path):
    noise = torch.rand(60, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    path = write_video(tmp_path / "a.mp4", noise, 10).path
    whole, data = read_clip(path, SETTINGS), path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    left = read_clip(path, SETTINGS)
    assert 9 <= len(left) < len(whole) == 33 and len(left) % 8 == 1
    torch.testing.assert_close(left, whole[: len(left)])
    path.write_bytes(data[: len(data) // 10])
    with refused("seconds", "mismatch", "a.mp4", "8", "9"):
        read_clip(path, SETTINGS)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "LA", "1"])
def test_pictures_of_any_mode(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (80, 64), (255, 255, 255)).convert(mode).save(path)
    assert read_still(path, SETTINGS).shape == (1, 64, 64, 3)
    assert read_still(path, SETTINGS).min() > 0.98


def test_transparent_is_white_and_phones_are_turned(tmp_path):
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_still(tmp_path / "a.png", SETTINGS).min() == 1
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 32)).save(tmp_path / "b.jpg", exif=exif)
    assert read_still(tmp_path / "b.jpg", SETTINGS).shape == (1, 128, 32, 3)


@pytest.mark.parametrize("values, fact", [
    ({"size": 16}, "16"), ({"fps": 0}, "0"), ({"fps": float("nan")}, "nan"), ({"seconds": 0.9}, "0.9"),
    ({"seconds": float("nan")}, "nan"),
])  # fmt: skip
def test_bad_settings(values, fact):
    with refused(*values, "value", fact):
        EncodeSettings(**values)
