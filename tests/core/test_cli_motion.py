"""``python -m lumina_core motion`` as a user sees it: output, exit status, files."""

import json
import logging

import pytest

from lumina_core.cli import main
from lumina_core.evaluation.rank_correlation import spearman
from lumina_core.media.motion_score import file_motion_score, read_scores
from lumina_core.media.writer import write_video
from lumina_core.mini.draw import draw
from lumina_core.mini.world import Scene


@pytest.fixture(autouse=True)
def quiet():
    """FFmpeg tells of broken files on its own; the sentence is what counts."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three clips, slow to fast, and three files that are none."""
    folder = tmp_path_factory.mktemp("clips")
    for name, speed in (("slow", 0.2), ("middle", 0.7), ("fast", 1.2)):
        write_video(folder / f"{name}.mp4", draw(Scene("white", "circle", "black", "right", speed, 12)), 8)
    (folder / "broken.mp4").write_bytes(b"nothing like it")
    write_video(folder / "short.mp4", draw(Scene("white", "circle", "black", "right", 1, 12), 3), 8)
    return folder


@pytest.fixture
def clips(source, monkeypatch):
    """The same as the working folder, without what a test wrote."""
    monkeypatch.chdir(source)
    yield source
    for file in source.iterdir():
        if file.suffix != ".mp4":
            file.unlink()


GOOD = ["slow.mp4", "middle.mp4", "fast.mp4"]


def record(folder, *lines):
    (folder / "scores.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return "scores.jsonl"


def test_table(clips, capsys):
    assert main(["motion", *GOOD]) == 0
    out, error = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["file", "seconds", "fps", "motion"] and error == ""
    assert rows[1:] == [[name, "4.00", "8", f"{file_motion_score(name):.3f}"] for name in GOOD]
    scores = [float(row[3]) for row in rows[1:]]
    assert scores == sorted(scores)


def test_json(clips, capsys):
    assert main(["motion", *GOOD, "broken.mp4", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert [clip["path"] for clip in data["clips"]] == GOOD
    assert data["clips"][0] == {"path": "slow.mp4", "motion": file_motion_score("slow.mp4"), "seconds": 4.0, "fps": 8.0}
    assert [entry["path"] for entry in data["broken"]] == ["broken.mp4"]
    assert "cannot be read" in data["broken"][0]["error"]


def test_broken_ones_are_told_at_the_end_and_the_others_measured(clips, capsys):
    assert main(["motion", "broken.mp4", "slow.mp4", "short.mp4", "nowhere.mp4", "fast.mp4"]) == 1
    out, error = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["file", "slow.mp4", "fast.mp4"]
    told = error.splitlines()
    assert [line.startswith("not measured: ") for line in told] == [True] * 3
    assert "broken.mp4" in told[0] and "short.mp4 is too short" in told[1] and "nowhere.mp4 does not exist" in told[2]


def test_none_could_be_measured(clips, capsys):
    assert main(["motion", "broken.mp4", "nowhere.mp4"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 3 and error[2].startswith("error: ") and " 2 videos" in error[2]
    assert main(["motion", "broken.mp4"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and error[0].startswith("error: broken.mp4 cannot be read as a video")


def test_out_is_read_back_and_its_path_comes_last(clips, capsys):
    assert main(["motion", *GOOD, "broken.mp4", "--out", "m.jsonl"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "m.jsonl"
    assert read_scores("m.jsonl") == {name: file_motion_score(name) for name in GOOD}
    lines = [json.loads(line) for line in (clips / "m.jsonl").read_text().splitlines()]
    assert lines[0].keys() == {"path", "motion", "seconds", "fps"}


def test_out_is_checked_before_work_and_kept_on_failure(clips, capsys, monkeypatch):
    assert main(["motion", "slow.mp4", "--out", "nowhere/m.jsonl"]) == 2
    assert main(["motion", "slow.mp4", "--out", "m.txt"]) == 2
    out, error = capsys.readouterr()
    assert out == "" and "does not exist" in error and "ending in .jsonl" in error
    (clips / "m.jsonl").write_text("old")
    assert main(["motion", "broken.mp4", "--out", "m.jsonl"]) == 2
    assert (clips / "m.jsonl").read_text() == "old"

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lumina_core.cli.motion.file_motion_score", interrupted)
    assert main(["motion", "slow.mp4", "--out", "m.jsonl"]) == 130
    assert (clips / "m.jsonl").read_text() == "old" and not list(clips.glob(".*"))


def test_scores_side_by_side_with_the_line_between(clips, capsys):
    ours = {name: file_motion_score(name) for name in GOOD}
    scores = record(clips, *({"path": f"s3://set/{name}", "unimatch_flow": 2 * ours[name] + 0.5} for name in GOOD))
    assert main(["motion", *GOOD, "--scores", scores]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[-1] == "other"
    assert [line.split()[-1] for line in out[1:4]] == [f"{2 * ours[name] + 0.5:.3f}" for name in GOOD]
    assert out[-1] == ("other = 2 x motion +0.5 by least squares, Spearman correlation 1.000, on these 3 clips.")
    assert main(["motion", *GOOD, "--scores", scores, "--json"]) == 0
    comparison = json.loads(capsys.readouterr().out)["comparison"]
    assert [comparison[key] for key in ("clips", "slope", "intercept", "spearman")] == pytest.approx([3, 2, 0.5, 1])


def test_least_squares_go_through_scattered_points(clips, capsys):
    ours = [file_motion_score(name) for name in GOOD]
    others = [3.0, 1.0, 4.0]
    scores = record(clips, *({"path": name, "motion": other} for name, other in zip(GOOD, others, strict=True)))
    assert main(["motion", *GOOD, "--scores", scores, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["comparison"]
    mean, other_mean = sum(ours) / 3, sum(others) / 3
    slope = sum((a - mean) * (b - other_mean) for a, b in zip(ours, others, strict=True))
    slope /= sum((a - mean) ** 2 for a in ours)
    assert found["slope"] == pytest.approx(slope) and found["intercept"] == pytest.approx(other_mean - slope * mean)
    assert found["spearman"] == pytest.approx(0.5)


def test_a_whole_path_counts_before_a_name_and_names_must_be_unique(clips, capsys):
    lines = [("a/slow.mp4", 1.0), ("slow.mp4", 2.0), ("a/fast.mp4", 3.0), ("b/fast.mp4", 4.0), ("c/middle.mp4", 5.0)]
    scores = record(clips, *({"path": path, "unimatch_flow": score} for path, score in lines))
    assert main(["motion", *GOOD, "--scores", scores]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in out[1:4]] == ["2.000", "5.000", "-"]
    assert "3" in out[-1] and "2" in out[-1] and "Spearman" not in out[-1]


def test_equal_scores_have_no_rank_order(clips, capsys):
    scores = record(clips, *({"path": name, "unimatch_flow": 1.5} for name in GOOD))
    assert main(["motion", *GOOD, "--scores", scores]) == 0
    assert "Spearman correlation not defined" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("lines, words", [
    ([{"path": "else.mp4", "unimatch_flow": 1}], "None of the videos is in --scores scores.jsonl"),
    ([{"path": "slow.mp4"}], "line 1 has the score None"),
    ([], "no scores"),
])  # fmt: skip
def test_bad_scores_are_told_before_work(clips, capsys, lines, words):
    assert main(["motion", *GOOD, "--scores", record(clips, *lines)]) == 2
    out, error = capsys.readouterr()
    assert out == "" and words in error and len(error.splitlines()) == 1


def test_no_video_is_an_error(capsys):
    assert main(["motion"]) == 2
    assert "required: VIDEO" in capsys.readouterr().err


@pytest.mark.parametrize("first, second, expected", [
    ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
    ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
    ([1, 2, 3], [1, 100, 2], 0.5),
    ([1, 2, 2, 3], [1, 2, 3, 4], 0.9486832980505138),
    ([1, 1, 1], [1, 2, 3], None),
    ([], [], None),
])  # fmt: skip
def test_spearman(first, second, expected):
    found = spearman(first, second)
    assert found is None if expected is None else found == pytest.approx(expected)
