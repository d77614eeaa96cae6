import json

import av
import numpy as np
import pytest
import torch
from refusals import refused

from lumina_core.errors import LuminaError
from lumina_core.media.writer import check_target, read_metadata, write_image, write_video

METADATA = {"prompt": "猫 in the sea; a = b\nsecond line", "lumina_video": json.dumps({"plan": {"points": 70}})}


def clip(count=6, height=64, width=48):
    """A bright square that moves one pixel right per frame, over a gradient."""
    frames = torch.linspace(0, 1, width).expand(count, height, width).clone()[..., None].repeat(1, 1, 1, 3)
    for index in range(count):
        frames[index, 16:32, 8 + index : 24 + index] = torch.tensor([0.9, 0.1, 0.2])
    return frames


def read(path):
    with av.open(path) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(pictures), float(stream.average_rate), stream.codec_context.name


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_video_comes_back(tmp_path):
    frames = clip()
    info = write_video(tmp_path / "a.mp4", iter([frames[:1], frames[1:4], frames[4:]]), fps=24)
    assert (info.width, info.height, info.frames, info.fps) == (48, 64, 6, 24.0)
    pictures, rate, codec = read(info.path)
    assert pictures.shape == (6, 64, 48, 3) and rate == 24 and codec == "h264"
    assert np.abs(pictures / 255 - frames.numpy()).mean() < 0.02
    assert leftovers(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("color", [(1, 0, 0), (0, 1, 0), (0.1, 0.2, 0.9), (1, 1, 1), (0, 0, 0)])
def test_colors_are_bt709_and_say_so(tmp_path, color):
    info = write_video(tmp_path / "a.mp4", torch.tensor(color, dtype=torch.float32).expand(2, 32, 32, 3), fps=8)
    with av.open(info.path) as container:
        frame, tags = next(container.decode(video=0)), container.streams.video[0].codec_context
        assert (tags.colorspace, tags.color_range, tags.color_primaries, tags.color_trc) == (1, 1, 1, 1)
        luma = frame.to_ndarray()[16, 16]
        rgb = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()[16, 16]
    assert abs(luma - (16 + 219 * np.dot(color, (0.2126, 0.7152, 0.0722)))) < 2
    assert np.abs(rgb / 255 - color).max() < 0.03


@pytest.mark.parametrize("fps", [8, 16, 24, 23.976, 29.97, 12.5])
def test_rates(tmp_path, fps):
    info = write_video(tmp_path / "a.mp4", clip(3), fps)
    assert read(info.path)[1] == pytest.approx(fps, rel=1e-4)


def test_metadata_comes_back(tmp_path):
    info = write_video(tmp_path / "a.mp4", clip(2), 16, METADATA)
    assert read_metadata(info.path) == METADATA
    assert read_metadata(write_video(tmp_path / "b.mp4", clip(2), 16).path) == {}
    image = write_image(tmp_path / "c.png", clip(1), METADATA)
    assert read_metadata(image) == METADATA


def test_index_comes_first_so_that_browsers_play_while_loading(tmp_path):
    data = write_video(tmp_path / "a.mp4", clip(), 16).path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_image_is_exact(tmp_path):
    from PIL import Image

    frame = torch.arange(256).float().div(255).reshape(16, 16, 1).expand(16, 16, 3)
    for shape in (frame, frame[None]):
        path = write_image(tmp_path / "a.png", shape)
        assert np.array_equal(np.asarray(Image.open(path))[..., 0], np.arange(256).reshape(16, 16))


def test_values_outside_are_clamped(tmp_path):
    path = write_video(tmp_path / "a.mp4", torch.full((1, 16, 16, 3), 1.7), 8).path
    assert read(path)[0].min() > 250


def test_frames_are_taken_one_chunk_at_a_time(tmp_path):
    alive = []

    def stream():
        import weakref

        for _ in range(5):
            chunk = clip(2)
            alive.append(weakref.ref(chunk))
            yield chunk
            del chunk

    write_video(tmp_path / "a.mp4", stream(), 8)
    assert len(alive) == 5 and not any(ref() is not None for ref in alive)


def test_existing_file_is_replaced(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")
    write_video(tmp_path / "a.mp4", clip(2), 8)
    assert read(tmp_path / "a.mp4")[0].shape[0] == 2


class Failed(Exception):
    pass


def broken_stream():
    yield clip(2)
    raise Failed


@pytest.mark.parametrize("frames, error", [
    (broken_stream, Failed),
    (lambda: iter([clip(2), clip(2, 32, 32)]), LuminaError),
    (lambda: iter([clip(2), clip(2) * float("nan")]), LuminaError),
])  # fmt: skip
def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, frames, error):
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(error):
        write_video(tmp_path / "a.mp4", frames(), 8)
    assert leftovers(tmp_path) == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == b"old"


def never():
    raise AssertionError("frames were asked for")
    yield


@pytest.mark.parametrize("name, fps, field, kind, fact", [
    ("a.avi", 8, "out", "value", ".mp4"),
    ("none/a.mp4", 8, "out", "missing", "none"),
    ("folder.mp4", 8, "out", "value", "folder.mp4"),
    ("a.mp4", 0, "fps", "value", "0"),
    ("a.mp4", float("nan"), "fps", "value", "nan"),
    ("a.mp4", float("inf"), "fps", "value", "inf"),
])  # fmt: skip
def test_bad_targets_are_told_before_any_frame_is_made(tmp_path, name, fps, field, kind, fact):
    (tmp_path / "folder.mp4").mkdir()
    with refused(field, kind, fact):
        write_video(tmp_path / name, never(), fps)
    assert leftovers(tmp_path) == ["folder.mp4"]


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    from pathlib import Path

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)  # root may write everywhere, so a read-only folder proves nothing
    with refused("out", "resource"):
        write_video(tmp_path / "a.mp4", never(), 8)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("frames, kind, fact", [
    (torch.zeros(2, 33, 32, 3), "value", "32x33"),
    (torch.zeros(2, 32, 32, 4), "value", "(2, 32, 32, 4)"),
    (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "value", "uint8"),
    (torch.zeros(32, 32, 3), "value", "(32, 32, 3)"),
    (torch.zeros(0, 32, 32, 3), "missing", "a.mp4"),
    ([], "missing", "a.mp4"),
])  # fmt: skip
def test_bad_frames(tmp_path, frames, kind, fact):
    with refused("frames", kind, fact):
        write_video(tmp_path / "a.mp4", frames, 8)
    assert leftovers(tmp_path) == []


def test_bad_image(tmp_path):
    with refused("frames", "value", "2"):
        write_image(tmp_path / "a.png", clip(2))
    assert leftovers(tmp_path) == []


def test_bad_files_to_read(tmp_path):
    for name in ("a.mp4", "a.png"):
        with refused("file", "missing"):
            read_metadata(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing like it")
        with refused("file", "file"):
            read_metadata(tmp_path / name)


def test_check_target_keeps_what_is_there(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")
    assert check_target(tmp_path / "a.mp4", ".mp4").read_bytes() == b"old"
    assert leftovers(tmp_path) == ["a.mp4"]
