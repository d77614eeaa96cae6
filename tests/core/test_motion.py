"""Motion scores against known motion, and the protocol against a slow reading of it."""

import json
import logging
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import refused

from lumina_core.errors import LuminaError
from lumina_core.media import motion_score as motion
from lumina_core.media.motion_score import HEIGHT, WIDTH, dis_flow, file_motion_score, motion_score, read_scores
from lumina_core.media.writer import write_video
from lumina_core.mini.draw import draw
from lumina_core.mini.world import Scene


@pytest.fixture(autouse=True)
def quiet():
    """FFmpeg tells of broken files on its own; the sentence is what counts."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)


def texture(height, width, seed=0):
    """Clouds with detail of every size, as pictures of the world have it; (height, width) in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(height, width)
    for cell in (2, 4, 8, 16, 32, 64):
        coarse = torch.rand(1, 1, height // cell + 2, width // cell + 2, generator=generator)
        total += cell * F.interpolate(coarse, (height, width), mode="bicubic")[0, 0]
    return ((total - total.mean()) / total.std() * 0.18 + 0.5).clamp(0, 1)


def panned(seconds, fps, right, down=0.0, height=HEIGHT, width=WIDTH):
    """A view that moves over clouds by so many pixels per second: (frames, height, width, 3)."""
    world = texture(height + 240, width + 240)[None, None]
    y, x = torch.meshgrid(torch.arange(height) + 120.0, torch.arange(width) + 120.0, indexing="ij")
    frames = []
    for number in range(round(seconds * fps)):
        time = number / fps - seconds / 2
        where = torch.stack([x + right * time, y + down * time], dim=-1) + 0.5
        where = where / torch.tensor([width + 240, height + 240]) * 2 - 1
        frames.append(F.grid_sample(world, where[None], align_corners=False)[0, 0])
    return torch.stack(frames)[..., None].expand(-1, -1, -1, 3).contiguous()


@pytest.mark.parametrize("right, down", [(4, 0), (0, 10), (16, 16), (60, 0), (-40, 20)])
def test_a_pan_has_its_own_speed_as_score(right, down):
    # Half a second of it; the mean is over both components.
    expected = (abs(right) + abs(down)) / 2 / 2
    assert motion_score(panned(1.25, 8, right, down), 8) == pytest.approx(expected, rel=0.05)


def test_a_still_scores_zero():
    assert motion_score(panned(1, 8, 0), 8) == 0
    assert motion_score(draw(Scene("red", "star", "black", "left", 0.0, 12)), 8) == 0
    assert motion_score(torch.full((5, 8, 8, 3), 0.5), 4) == 0


def test_the_score_follows_the_speed():
    scores = [motion_score(panned(1.1, 8, speed), 8) for speed in (8, 16, 32, 64)]
    assert [b / a for a, b in pairwise(scores)] == pytest.approx([2, 2, 2], rel=0.05)


def test_faster_drawn_shapes_score_higher():
    """Flat colors on a flat ground are the hardest: only the order is asked for."""
    scenes = [Scene("yellow", "square", "navy", "right", speed, 11) for speed in (0.1, 0.3, 0.6, 0.9, 1.2)]
    scores = [motion_score(draw(scene), 8) for scene in scenes]
    assert scores == sorted(scores) and scores[-1] > 4 * scores[0] > 0


def test_any_frame_rate_gives_nearly_the_same_score(tmp_path):
    scores = [motion_score(panned(1.6, fps, 20), fps) for fps in (4, 8, 12, 23.976, 30)]
    assert scores == pytest.approx([5.0] * 5, rel=0.06)
    for fps in (8, 23.976):
        path = write_video(tmp_path / "a.mp4", panned(1.6, fps, 20), fps).path
        assert file_motion_score(path) == pytest.approx(5.0, rel=0.06)


def test_size_does_not_matter_but_the_shape_is_stretched():
    # Half the pixels and half the pixels per second are the same motion.
    assert motion_score(panned(1.1, 8, 10, height=160, width=288), 8) == pytest.approx(5, rel=0.05)
    # A square picture of 320 is stretched to 576 across: motion to the right grows with it.
    assert motion_score(panned(1.1, 8, 10, width=320), 8) == pytest.approx(2.5 * 576 / 320, rel=0.05)
    assert motion_score(panned(1.1, 8, 0, 10, width=320), 8) == pytest.approx(2.5, rel=0.05)


def test_a_portrait_picture_is_measured_on_its_side():
    frames = panned(1.1, 8, 12, 5)
    assert motion_score(frames.transpose(1, 2), 8) == motion_score(frames, 8)


def slow_score(frames, fps, flow):
    """The released protocol read word by word, one pixel at a time where it resizes."""
    chosen = []
    for half in range(9):
        number = round(half * 0.5 * fps)
        if number < len(frames):
            chosen.append(frames[number].double().numpy())
    small = []
    for picture in chosen:
        if picture.shape[0] > picture.shape[1]:
            picture = picture.swapaxes(0, 1)
        height, width = picture.shape[:2]
        out = np.empty((HEIGHT, WIDTH, 3))
        for row in range(HEIGHT):
            y = row * (height - 1) / (HEIGHT - 1)
            top = min(int(y), height - 2)
            line = picture[top] * (1 - y + top) + picture[top + 1] * (y - top)
            for column in range(WIDTH):
                x = column * (width - 1) / (WIDTH - 1)
                left = min(int(x), width - 2)
                out[row, column] = line[left] * (1 - x + left) + line[left + 1] * (x - left)
        small.append(torch.from_numpy(out).float())
    means = []
    for first, second in pairwise(small):
        field = flow(first, second)
        means.append((field[..., 0].abs().mean() + field[..., 1].abs().mean()) / 2)
    return float(torch.stack(means).mean())


def differences(first, second):
    """No flow, but any change of a pixel changes it."""
    return (second - first)[..., :2] * 7


@pytest.mark.parametrize("shape, fps", [((9, 24, 40, 3), 8), ((3, 40, 24, 3), 3), ((19, 9, 7, 3), 12.5)])
def test_the_protocol_is_the_released_one(shape, fps):
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    assert motion_score(frames, fps, differences) == pytest.approx(slow_score(frames, fps, differences), rel=1e-5)


def test_only_the_first_four_seconds_count():
    frames = torch.rand(60, 8, 8, 3, generator=torch.Generator().manual_seed(1))
    seen = []

    def watch(first, second):
        seen.append((first, second))
        return differences(first, second)

    motion_score(frames, 8, watch)
    assert len(seen) == 8 and all(picture.shape == (HEIGHT, WIDTH, 3) for pair in seen for picture in pair)
    assert motion_score(frames[:33], 8, differences) == motion_score(frames, 8, differences)
    assert all(torch.equal(a[1], b[0]) for a, b in pairwise(seen))


def test_half_precision_and_gradients_are_taken():
    frames = panned(1, 8, 16)
    assert motion_score(frames.half().requires_grad_(), 8) == pytest.approx(motion_score(frames, 8), rel=0.02)


def test_a_part_of_a_file(tmp_path):
    """Still for two seconds, then moving."""
    moving = panned(2, 8, 24)
    path = write_video(tmp_path / "a.mp4", torch.cat([moving[:1].expand(16, -1, -1, -1), moving]), 8).path
    assert file_motion_score(path, seconds=1.5) == pytest.approx(0, abs=0.02)
    assert file_motion_score(path, start=2.0) == pytest.approx(6, rel=0.05)
    assert 2 < file_motion_score(path) < 4.5
    with refused("video", "value", "a.mp4", "3.8"):
        file_motion_score(path, start=3.8)


def test_compression_hardly_changes_the_score(tmp_path):
    """A codec's noise on flat colors must not read as motion."""
    for color, direction in (("white", "right"), ("green", "down"), ("purple", "left")):
        frames = draw(Scene(color, "circle", "black", direction, 0.8, 12))
        path = write_video(tmp_path / "a.mp4", frames, 8).path
        assert file_motion_score(path) == pytest.approx(motion_score(frames, 8), rel=0.25)


def test_a_long_film_is_not_held_in_memory(tmp_path, monkeypatch):
    import weakref

    path = write_video(tmp_path / "a.mp4", panned(4, 8, 10, height=32, width=64), 8).path
    frames_at, alive = motion.frames_at, []

    def counted(*arguments):
        for frame in frames_at(*arguments):
            assert sum(ref() is not None for ref in alive) <= 1
            alive.append(weakref.ref(frame))
            yield frame
            del frame

    monkeypatch.setattr(motion, "frames_at", counted)
    file_motion_score(path)
    assert len(alive) == 8


@pytest.mark.parametrize("frames, fps, words", [
    (torch.zeros(8, 8, 8, 3), 0, "fps is 0"),
    (torch.zeros(8, 8, 8, 3), -8, "fps is -8"),
    (torch.zeros(8, 8, 8, 3), float("nan"), "fps is nan"),
    (torch.zeros(8, 8, 8, 3), float("inf"), "fps is inf"),
    (torch.zeros(1, 8, 8, 3), 8, "1 frame at 8 fps, is too short"),
    (torch.zeros(1, 8, 8, 3), 0.5, "1 frame at 0.5 fps, is too short"),
    (torch.zeros(0, 8, 8, 3), 8, "0 frames at 8 fps, is too short"),
    (torch.zeros(4, 8, 8, 3), 8, "4 frames at 8 fps, is too short"),
    (torch.zeros(8, 8, 8, 4), 8, r"shape \(8, 8, 8, 4\)"),
    (torch.zeros(8, 8, 3), 8, r"shape \(8, 8, 3\)"),
    (torch.zeros(8, 8, 8, 3, dtype=torch.uint8), 8, "uint8"),
    (torch.full((8, 8, 8, 3), math.nan), 8, "NaN or infinite"),
])  # fmt: skip
def test_bad_clips(frames, fps, words):
    with pytest.raises(LuminaError, match=words):
        motion_score(frames, fps)


def test_five_frames_at_eight_per_second_are_enough():
    assert motion_score(torch.zeros(5, 8, 8, 3), 8) == 0


@pytest.mark.parametrize("wrong", [
    lambda a, b: torch.zeros(2, HEIGHT, WIDTH),
    lambda a, b: torch.full((HEIGHT, WIDTH, 2), math.nan),
])  # fmt: skip
def test_an_estimator_that_gives_no_flow_is_told(wrong):
    with refused("flow"):
        motion_score(torch.zeros(8, 8, 8, 3), 8, wrong)


def test_bad_files(tmp_path):
    short = write_video(tmp_path / "short.mp4", torch.zeros(4, 16, 16, 3), 8).path
    with refused("video", "value", "short.mp4"):
        file_motion_score(short)
    single = write_video(tmp_path / "single.mp4", torch.zeros(1, 16, 16, 3), 1).path
    with refused("video", "value", "single.mp4"):
        file_motion_score(single)
    (tmp_path / "broken.mp4").write_bytes(b"nothing like it")
    with refused("video", "file", "broken.mp4"):
        file_motion_score(tmp_path / "broken.mp4")


def test_missing_opencv_is_told_with_the_cure(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with refused("opencv", "missing"):
        dis_flow()
    with refused("opencv", "missing"):
        motion_score(torch.zeros(8, 8, 8, 3), 8)


def jsonl(path, *records):
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def test_scores_of_the_released_record(tmp_path):
    lines = {"path": "s3://bucket/a.mp4", "caption": "猫", "unimatch_flow": 3.25}, {"path": "b.mp4", "unimatch_flow": 0}
    assert read_scores(jsonl(tmp_path / "r.jsonl", *lines)) == {"s3://bucket/a.mp4": 3.25, "b.mp4": 0.0}


def test_scores_of_ours(tmp_path):
    path = jsonl(tmp_path / "r.jsonl", {"path": "a.mp4", "motion": 2.5, "fps": 8.0})
    path.write_text(path.read_text() + "\n  \n")  # blank lines are no records
    assert read_scores(path) == {"a.mp4": 2.5}


GOOD = {"path": "a.mp4", "motion": 1.0}


@pytest.mark.parametrize("text, words", [
    ("{", "line 2 is not JSON"),
    ("[1]", 'line 2 has no "path"'),
    ('{"motion": 1}', 'line 2 has no "path"'),
    ('{"path": 3, "motion": 1}', 'line 2 has no "path"'),
    ('{"path": "b"}', "line 2 has the score None"),
    ('{"path": "b", "motion": "high"}', "line 2 has the score 'high'"),
    ('{"path": "b", "motion": true}', "line 2 has the score True"),
    ('{"path": "b", "motion": NaN}', "line 2 has the score nan"),
    ('{"path": "b", "motion": -1}', "line 2 has the score -1"),
    ('{"path": "b", "unimatch_flow": 1}', r"mixes two scales, motion \(line 1\) and unimatch_flow \(line 2\)"),
])  # fmt: skip
def test_bad_records_are_named_by_line(tmp_path, text, words):
    path = tmp_path / "r.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{text}\n", encoding="utf-8")
    with pytest.raises(LuminaError, match=words) as caught:
        read_scores(path)
    assert "r.jsonl" in str(caught.value)


def test_bad_score_files(tmp_path):
    with refused("scores", "file"):
        read_scores(tmp_path / "none.jsonl")
    (tmp_path / "r.jsonl").write_text("\n")
    with refused("scores", "file"):
        read_scores(tmp_path / "r.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with refused("scores", "file"):
        read_scores(tmp_path / "b.jsonl")
