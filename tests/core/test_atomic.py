"""Files and folders that are replaced whole or not at all."""

import pytest

from lumina_core.runtime.atomic import SUFFIX, atomic_folder, atomic_write, temporary_name


@pytest.mark.parametrize("unique", [True, False])
def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path, unique):
    target = tmp_path / "clip.mp4"
    target.write_text("old")
    with atomic_write(target, unique=unique) as part:
        part.write_text("new")
        assert target.read_text() == "old" and part.parent == tmp_path
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, error, unique):
    target = tmp_path / "log.csv"
    target.write_text("old")
    with pytest.raises(error), atomic_write(target, unique=unique) as part:
        part.write_text("half")
        raise error
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_under_the_fixed_name_is_overwritten(tmp_path):
    (tmp_path / f"log{SUFFIX}").write_text("left by a killed process")
    with atomic_write(tmp_path / "log.csv", unique=False) as part:
        part.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_temporary_names_differ_and_are_hidden(tmp_path):
    first, second = (temporary_name(tmp_path / "a.png") for _ in range(2))
    assert first != second and first.name.startswith(".") and first.suffix == SUFFIX


def test_a_folder_is_replaced_with_all_its_files(tmp_path):
    target, left = tmp_path / "state", tmp_path / f"state{SUFFIX}"
    for folder in (target, left):
        folder.mkdir()
        (folder / "old").write_text("old")
    with atomic_folder(target) as part:
        (part / "new").write_text("new")
        assert (target / "old").exists()
    assert [path.name for path in target.iterdir()] == ["new"] and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_folder_and_no_other(tmp_path, error):
    target = tmp_path / "state"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(error), atomic_folder(target) as part:
        (part / "new").write_text("half")
        raise error
    assert [path.name for path in target.iterdir()] == ["old"] and list(tmp_path.iterdir()) == [target]
