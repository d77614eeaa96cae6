from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from audio_case import click
from refusals import refused

from lumina_core.evaluation.av_align import FPS, _motion, av_align, av_align_file, motion_peaks, peak_iou
from lumina_core.evaluation.onsets import find_onsets

SECONDS = 2.0


def jumping(times, fps=FPS, side=64):
    """A textured square that stands still and jumps 3 pixels at each time: (n, side, side, 3)."""
    texture = torch.rand(24, 24, 3, generator=torch.Generator().manual_seed(0))
    frames = torch.zeros(round(SECONDS * fps), side, side, 3)
    for number, frame in enumerate(frames):
        moved = 3 * sum(time <= number / fps + 1e-6 for time in times)
        frame[20:44, 8 + moved : 32 + moved] = texture
    return frames


def clicks(times):
    return sum(click(time, SECONDS) for time in times) if times else torch.zeros(1, round(SECONDS * 16000))


def test_jumps_with_clicks_agree_and_others_do_not():
    times = [0.4, 0.92, 1.52]
    assert av_align(jumping(times), FPS, clicks(times)) == 1
    assert av_align(jumping(times), FPS, clicks([0.6, 1.2, 1.8])) == 0
    assert av_align(jumping(times), FPS, clicks([0.4, 1.2])) == pytest.approx(1 / 4)


def test_neither_sound_nor_motion_has_no_score():
    assert av_align(jumping([]), FPS, clicks([])) is None
    assert av_align(jumping([0.4]), FPS, clicks([])) == 0
    assert av_align(jumping([]), FPS, clicks([0.4])) == 0


def test_the_rate_of_the_clip_does_not_move_the_peaks():
    times = [0.4, 1.0, 1.6]
    for fps in (50.0, 25.0):
        assert av_align(jumping(times, fps), fps, clicks(times)) == 1


def test_flow_is_that_of_opencv_with_the_first_value_twice():
    import cv2

    frames = jumping([0.04, 0.12])[:5]
    grey = [(frame @ torch.tensor([0.299, 0.587, 0.114]) * 255).round().to(torch.uint8).numpy() for frame in frames]
    flows = [cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0) for a, b in pairwise(grey)]
    wanted = [float(np.mean(np.hypot(flow[..., 0], flow[..., 1]))) for flow in flows]
    assert _motion(frames) == pytest.approx([wanted[0], *wanted], rel=1e-5)


def test_motion_peaks_are_strict_and_large_enough():
    assert motion_peaks([0, 1, 0, 1, 1, 0, 0.05, 0, 0.1, 0], fps=10.0) == pytest.approx([0.1, 0.8])
    assert motion_peaks([3, 1, 2]) == []


def test_agreement_takes_each_moment_once():
    assert peak_iou([1.0, 1.01], [1.0], 0.04) == pytest.approx(1 / 2)
    assert peak_iou([1.0], [1.0, 1.01], 0.04) == pytest.approx(1 / 2)
    assert peak_iou([1.0], [1.05], 0.04) == 0
    assert peak_iou([], [], 0.04) is None


def test_a_clip_of_one_frame_and_a_rate_of_nothing_are_refused():
    with refused("frames", "value", "1 frame"):
        av_align(jumping([])[:1], FPS, clicks([]))
    with refused("fps"):
        av_align(jumping([]), 0.0, clicks([]))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Jumps at 0.4, 0.92 and 1.52 s, lossless."""
    path = tmp_path_factory.mktemp("av") / "jumps.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=round(FPS), options={"level": "3"})
        stream.width = stream.height = 64
        stream.pix_fmt = "bgr0"
        for picture in jumping([0.4, 0.92, 1.52]):
            frame = av.VideoFrame.from_ndarray((picture * 255).round().to(torch.uint8).numpy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_file_has_the_score_of_its_frames(video):
    for sound in (clicks([0.4, 0.92, 1.52]), clicks([0.4, 1.2])):
        assert av_align_file(video, sound) == av_align(jumping([0.4, 0.92, 1.52]), FPS, sound)


def test_a_part_of_a_file_is_measured_from_its_start(video):
    part = click(0.12, 1.0)
    assert av_align_file(video, part, start=0.8, seconds=0.6) == 1
    assert av_align_file(video, part, start=0.6, seconds=0.6) == 0


def test_a_part_that_is_too_short_is_refused(video):
    with refused("seconds", "value", "2 frames"):
        av_align_file(video, clicks([]), start=1.99)


@pytest.mark.slow
def test_the_score_is_near_that_with_librosas_onsets():
    librosa = pytest.importorskip(
        "librosa", reason="librosa is not installed: AV-Align is not compared with its onsets"
    )
    times = [0.4, 0.92, 1.52]
    sound = clicks(times)
    theirs = librosa.onset.onset_detect(y=sound[0].numpy(), sr=16000, units="time", hop_length=128)
    wanted = peak_iou(theirs.tolist(), motion_peaks(_motion(jumping(times))), 1 / FPS)
    assert av_align(jumping(times), FPS, sound) == wanted
    assert len(find_onsets(sound)) == len(theirs)
