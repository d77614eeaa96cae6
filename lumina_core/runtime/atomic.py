"""Atomic writes: a file gets a temporary name beside its target and then replaces it, so no reader sees half of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

# Suffix of every temporary name, by which code that lists a folder skips them.
SUFFIX = ".part"


def temporary_name(target: Path) -> Path:
    """A hidden name beside ``target`` that no other process uses."""
    return target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}")


@contextlib.contextmanager
def atomic_write(target: Path, *, unique: bool = True) -> Iterator[Path]:
    """A temporary file that replaces ``target`` at the end of the block, and is removed if the block fails.

    Args:
        target: file to write or replace; its folder must exist.
        unique: use a name that no other process uses, for targets that several processes may write. If False, the name
            is the target's with the suffix ``.part``, and the file that a killed process left there is overwritten.

    Yields:
        The temporary path; the block writes it.

    Raises:
        OSError: the file cannot be moved. Then, as after any exception or interrupt, ``target`` is unchanged.
    """
    part = temporary_name(target) if unique else target.with_suffix(SUFFIX)
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """An empty folder named ``target`` with the suffix ``.part``, which becomes ``target`` at the end of the block.

    Args:
        target: folder to create or replace; missing parents are created.

    Yields:
        The temporary folder; the block fills it.

    Raises:
        OSError: a folder cannot be created or moved. Then, as after any exception or interrupt in the block,
            ``target`` is unchanged and the temporary folder is gone.
    """
    part = target.with_suffix(SUFFIX)
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
