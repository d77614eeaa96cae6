"""What a data source holds, and what is said of one that holds nothing."""

import json

import pytest
from refusals import refused

from lumina_core.train.sources import RawItem, read_source, with_scores


def lines(path, *records):
    path.write_text("".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records), encoding="utf-8")
    return path


def one_sentence(caught):
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_a_folder_with_folders_and_any_names(tmp_path):
    for name in ("b.MP4", "a.png", "sub/风筝 über.mov", ".hidden/c.mp4", ".d.mp4", "notes.md", "film.v2.mkv"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
        if file.suffix != ".md":
            file.with_suffix(".txt").write_text(f" of {name}\n", encoding="utf-8")
    (tmp_path / "trap.mp4").mkdir()
    source = read_source(tmp_path)
    assert [(item.name, item.kind) for item in source.items] == [
        ("a.png", "image"), ("b.MP4", "video"), ("film.v2.mkv", "video"), ("sub/风筝 über.mov", "video"),
    ]  # fmt: skip
    assert [item.caption for item in source.items] == [f"of {item.name}" for item in source.items]
    assert all(item.path == tmp_path / item.name and item.motion is None for item in source.items)
    assert not source.faults


def test_single_missing_captions_are_listed(tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.txt").write_text("\ufeffA kite", encoding="utf-8")
    (tmp_path / "b.txt").write_text(" \n")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\xfa")
    source = read_source(tmp_path)
    assert [item.caption for item in source.items] == ["A kite"]
    assert list(source.faults) == ["b.mp4", "c.mp4", "d.mp4"]
    assert "b.txt is empty" in source.faults["b.mp4"]
    assert "UTF-8" in source.faults["c.mp4"]
    assert "d.mp4 has no caption" in source.faults["d.mp4"]


def test_a_list_of_records(tmp_path):
    absolute = tmp_path / "elsewhere" / "x.webm"
    path = lines(
        tmp_path / "list.jsonl",
        {"path": "clips/a.mp4", "prompt": "红色的风筝", "unimatch_flow": 3, "seconds": 4.0, "ori_id": 7},
        {"path": str(absolute), "caption": "B", "prompt": "not this"},
        {"path": "clips/a.mp4", "caption": "A again"},
        {"path": "p.png", "caption": "P"},
        {"path": "raw", "caption": "R", "kind": "video", "unimatch_flow": None},
    )
    assert read_source(path).items == (
        RawItem("clips/a.mp4", tmp_path / "clips" / "a.mp4", "红色的风筝", "video", 3.0),
        RawItem(str(absolute), absolute, "B", "video"),
        RawItem("clips/a.mp4#2", tmp_path / "clips" / "a.mp4", "A again", "video"),
        RawItem("p.png", tmp_path / "p.png", "P", "image"),
        RawItem("raw", tmp_path / "raw", "R", "video"),
    )


def test_a_json_list_is_the_same(tmp_path):
    records = [{"path": "a.mp4", "prompt": "line\u2028separator", "motion": 2.5}, {"path": "b.jpg", "caption": "B"}]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(records, indent=1))
    path = lines(tmp_path / "list.jsonl", *records)
    assert read_source(listed) == read_source(path)
    assert len(read_source(path).items) == 2


def test_faults_of_single_records_are_listed(tmp_path):
    source = read_source(
        lines(
            tmp_path / "list.jsonl",
            {"path": "a.mp4", "caption": "A"},
            {"path": "b.mp4"},
            {"path": "c.mp4", "caption": "  "},
            {"path": "d.xyz", "caption": "D"},
            {"path": "e.mp4", "caption": "E", "motion": "fast"},
            {"path": "f.mp4", "caption": "F", "kind": "film"},
            {"path": "g.mp4", "caption": "G", "motion": -1},
        )
    )
    assert [item.name for item in source.items] == ["a.mp4"]
    expected = {
        "b.mp4": "line 2 has no caption",
        "c.mp4": "line 3 has no caption",
        "d.xyz": "line 4 has a file of unknown kind",
        "e.mp4": "line 5 has motion score 'fast'",
        "f.mp4": "line 6 has kind 'film'",
        "g.mp4": "line 7 has motion score",
    }
    assert list(source.faults) == list(expected)
    assert all(words in source.faults[name] for name, words in expected.items())


BAD = {
    "missing": (lambda path: None, "missing"),
    "empty folder": (lambda path: path.mkdir(), "missing"),
    "empty list": (lambda path: path.write_text("\n\n"), "missing"),
    "no captions": (lambda path: lines(path, {"path": "a.mp4"}, {"path": "b.mp4"}), "missing", "line 1"),
    "not json": (lambda path: path.write_text('{"path": "a.mp4", "caption": "A"}\n{"path": \n'), "file", "line 2"),
    "no path": (lambda path: lines(path, {"caption": "A"}), "file", "line 1"),
    "no object": (lambda path: lines(path, ["a.mp4"]), "file", "line 1"),
    "path is a number": (lambda path: lines(path, {"path": 3}), "file", "line 1"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe\x00{"), "file", "UTF-8"),
    "two scales": (
        lambda path: lines(
            path,
            {"path": "a.mp4", "caption": "A", "motion": 1},
            {"path": "b.mp4", "caption": "B", "unimatch_flow": 1},
        ),
        "file",
        "motion (data.jsonl line 1)",
        "unimatch_flow (data.jsonl line 2)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sources_are_told_in_one_sentence(tmp_path, case):
    make, kind, *facts = BAD[case]
    path = tmp_path / "data.jsonl"
    make(path)
    with refused("data", kind, *facts) as caught:
        read_source(path)
    assert "data.jsonl" in one_sentence(caught)


def test_other_kinds_of_file_are_told(tmp_path):
    for name, text, kind in (
        ("a.csv", "path,caption", "file"),
        ("a.json", '{"path": "a.mp4"}', "file"),
        ("b.json", "[1", "file"),
        ("c.json", "[]", "missing"),
        ("d.json", "", "missing"),
        ("e.json", "[3]", "file"),
    ):
        (tmp_path / name).write_text(text)
        with refused("data", kind, name):
            read_source(tmp_path / name)


def test_a_folder_without_any_caption(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with refused("data", "missing", "a.mp4"):
        read_source(tmp_path)


def test_scores_of_a_file(tmp_path):
    items = tuple(
        RawItem(name, tmp_path / name, "C", kind, own)
        for name, kind, own in (
            ("x/a.mp4", "video", None), ("x/b.mp4", "video", 9.0), ("y/b.mp4", "video", None), ("p.png", "image", None),
            ("c.mp4", "video", 5.0),
        )
    )  # fmt: skip
    scores = {"/other/a.mp4": 1.0, "x/b.mp4": 2.0, "/other/b.mp4": 3.0, "p.png": 4.0}
    assert [item.motion for item in with_scores(items, scores)] == [1.0, 2.0, None, None, None]
    with refused("scores", "mismatch", "'z.mp4'"):
        with_scores(items, {"z.mp4": 1.0})
