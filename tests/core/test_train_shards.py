"""Encoded sets on disk: what the index names is always whole, whatever ended the writing."""

import json

import pytest
import torch
from refusals import refused
from safetensors.torch import load_file

from lumina_core import LuminaError
from lumina_core.train.shards import INDEX, EncodedSet, Entry, ShardWriter, read_index

PER_SHARD = 3


def latents(index: int) -> torch.Tensor:
    return torch.randn(4, 2, 2, 3, generator=torch.Generator().manual_seed(index))


def write(folder, numbers, per_shard: int = PER_SHARD) -> None:
    with ShardWriter(folder, per_shard) as writer:
        for index in numbers:
            add(writer, index)


def add(writer: ShardWriter, index: int) -> None:
    kind, motion, fps = ("image", None, None) if index % 4 == 3 else ("video", index / 3, 8.0)
    writer.add(f"item-{index}", kind, f"caption “{index}”\n红色", motion, latents(index), fps)


def assert_whole(folder, numbers) -> None:
    """The set holds exactly these items, each with its own latents and text."""
    found = EncodedSet(folder)
    assert [entry.name for entry in found.entries] == [f"item-{index}" for index in numbers]
    assert len(found) == len(numbers)
    for place, index in enumerate(numbers):
        entry = found.entries[place]
        assert entry.caption == f"caption “{index}”\n红色" and entry.shape == (4, 2, 2, 3)
        assert (entry.kind, entry.motion, entry.fps) == (
            ("image", None, None) if index % 4 == 3 else ("video", index / 3, 8.0)
        )
        assert found.latents(place).dtype == torch.float32
        assert torch.equal(found.latents(place), latents(index).half().float())
    assert not list(folder.glob("*.part"))


def shards(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize("count", [1, 3, 7])
def test_items_come_back_as_they_were_given(tmp_path, count):
    write(tmp_path / "set", range(count))
    assert_whole(tmp_path / "set", range(count))
    assert shards(tmp_path / "set") == [f"shard-{number:05d}.safetensors" for number in range(-(-count // PER_SHARD))]


def test_a_second_run_adds_to_the_first(tmp_path):
    write(tmp_path, range(4))
    with ShardWriter(tmp_path, PER_SHARD) as writer:
        assert writer.done == {f"item-{index}" for index in range(4)}
        for index in range(4, 9):
            add(writer, index)
    assert_whole(tmp_path, range(9))


def test_a_run_with_nothing_new_changes_nothing(tmp_path):
    write(tmp_path, range(4))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write(tmp_path, [])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("error", [ValueError, LuminaError, KeyboardInterrupt])
def test_what_was_added_before_an_error_is_kept(tmp_path, error):
    with pytest.raises(error), ShardWriter(tmp_path, PER_SHARD) as writer:
        for index in range(4):
            add(writer, index)
        raise error("stop")
    assert_whole(tmp_path, range(4))


def test_only_what_is_on_disk_counts_as_done(tmp_path):
    with ShardWriter(tmp_path, PER_SHARD) as writer:
        for index in range(5):
            add(writer, index)
        assert writer.done == {"item-0", "item-1", "item-2"}


def test_a_kill_between_shard_and_index_costs_that_shard_alone(tmp_path):
    write(tmp_path, range(3))
    index = (tmp_path / INDEX).read_bytes()
    write(tmp_path, range(3, 6))
    # As if the second shard's lines had never been written.
    (tmp_path / INDEX).write_bytes(index)
    assert_whole(tmp_path, range(3))
    write(tmp_path, range(6, 8))
    assert_whole(tmp_path, [0, 1, 2, 6, 7])
    assert len(shards(tmp_path)) == 2


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_line_cut_short_by_a_kill_is_written_again(tmp_path, kept):
    write(tmp_path, range(3), per_shard=1)
    lines = (tmp_path / INDEX).read_bytes().splitlines(keepends=True)
    (tmp_path / INDEX).write_bytes(b"".join(lines[:2]) + lines[2][:kept])
    found = [entry.name for entry in read_index(tmp_path, Entry)]
    # Without its end of line alone, the last entry is a whole one.
    assert found == ["item-0", "item-1", "item-2"][: 3 if kept == -1 else 2]
    write(tmp_path, range(len(found), 5), per_shard=1)
    assert_whole(tmp_path, range(5))


def test_a_line_cut_short_within_a_character_is_written_again(tmp_path):
    write(tmp_path, range(3), per_shard=1)
    whole = (tmp_path / INDEX).read_bytes()
    cut = whole.rindex("色".encode()) + 1
    (tmp_path / INDEX).write_bytes(whole[:cut])
    assert [entry.name for entry in read_index(tmp_path, Entry)] == ["item-0", "item-1"]
    write(tmp_path, [2], per_shard=1)
    assert_whole(tmp_path, range(3))


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"name": "x"}', "7"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path, line):
    write(tmp_path, range(3))
    lines = (tmp_path / INDEX).read_text(encoding="utf-8").splitlines()
    (tmp_path / INDEX).write_text("\n".join([lines[0], line, lines[2], ""]), encoding="utf-8")
    with refused("encoded", "file", f"{INDEX} line 2"):
        EncodedSet(tmp_path)


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b", "\x1c", "\r"])
def test_a_caption_may_hold_any_mark_that_some_count_as_an_end_of_line(tmp_path, mark):
    with ShardWriter(tmp_path) as writer:
        for name in ("first", "second"):
            writer.add(name, "video", f"{name}{mark}cat", None, latents(0), 8.0)
    assert [entry.caption for entry in read_index(tmp_path, Entry)] == [f"first{mark}cat", f"second{mark}cat"]
    with ShardWriter(tmp_path) as writer:
        assert writer.done == {"first", "second"}


def test_a_folder_without_an_index_and_one_without_items_are_told_apart(tmp_path):
    with refused("encoded", "missing", INDEX):
        EncodedSet(tmp_path)
    (tmp_path / INDEX).touch()
    with refused("encoded", "file"):
        EncodedSet(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    write(tmp_path, range(4))
    file = tmp_path / "shard-00001.safetensors"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 40 if damage == "cut" else 0])
    found = EncodedSet(tmp_path)
    assert torch.equal(found.latents(0), latents(0).half().float())
    with refused("encoded", "file", "shard-00001.safetensors"):
        found.latents(3)


def test_a_disk_that_fills_while_a_shard_is_written_costs_that_shard_alone(tmp_path, monkeypatch):
    write(tmp_path, range(3))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, range(3, 5))
    assert_whole(tmp_path, range(3))
    write(tmp_path, range(3, 5))
    assert_whole(tmp_path, range(5))


def test_a_shard_is_moved_into_place_before_its_lines_are_written(tmp_path, monkeypatch):
    seen = []

    def append(file, text):
        shard = tmp_path / "shard-00000.safetensors"
        seen.append((len(load_file(shard)), [json.loads(line)["name"] for line in text.decode().splitlines()]))

    monkeypatch.setattr("lumina_core.train.shards._append", append)
    write(tmp_path, range(2))
    assert seen == [(2, ["item-0", "item-1"])]


def test_a_write_that_ends_half_way_leaves_the_index_as_it_was(tmp_path, monkeypatch):
    write(tmp_path, range(3))
    before = (tmp_path / INDEX).read_bytes()
    real = type(tmp_path).open

    class Full:
        """A file that takes half of what it is given, as a disk does that is nearly full."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, text):
            return self.file.write(text[: len(text) // 2])

    def opened(self, mode="r", *arguments, **options):
        file = real(self, mode, *arguments, **options)
        return Full(file) if mode == "ab" else file

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "open", opened)
        with pytest.raises(OSError, match="could not be written in full"):
            write(tmp_path, range(3, 5))
    assert (tmp_path / INDEX).read_bytes() == before
    write(tmp_path, range(3, 5))
    assert_whole(tmp_path, range(5))
