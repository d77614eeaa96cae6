"""Whether a video's frames are shown for equally long, told from its timestamps."""

import pytest
from refusals import refused
from test_frames import write

from lumina_core.media.reader import rate_varies


@pytest.mark.parametrize("fps", [7.5, 24, 29.97, 120])
def test_a_constant_rate_that_the_container_rounds_is_even(tmp_path, fps):
    assert not rate_varies(write(tmp_path / "even.mp4", [n / fps for n in range(40)]))


def test_a_gap_is_uneven_where_it_lies(tmp_path):
    stamps = [0.04 * n for n in range(30)] + [0.04 * n + 0.1 for n in range(30, 60)]
    path = write(tmp_path / "gap.mp4", stamps)
    assert rate_varies(path)
    assert rate_varies(path, start=1.0, seconds=0.5)
    assert not rate_varies(path, seconds=1.0)
    assert not rate_varies(path, start=1.5)


def test_a_start_that_is_not_zero_is_no_gap(tmp_path):
    assert not rate_varies(write(tmp_path / "late.mp4", [0.04 * n for n in range(20)], start=7))


def test_one_frame_is_even(tmp_path):
    assert not rate_varies(write(tmp_path / "one.mp4", [0]))


def test_no_video_is_told(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing like it")
    with refused("video", "file"):
        rate_varies(tmp_path / "broken.mp4")
