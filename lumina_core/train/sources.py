"""Data sources: a folder of files with a caption file for each, or a JSON list."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import LuminaError
from ..media.motion_score import SCORE_KEYS
from .shards import IMAGE, VIDEO

SUFFIXES = {
    VIDEO: (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".gif"),
    IMAGE: (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"),
}
CAPTION_KEYS = ("caption", "prompt")
_RECORD = '{"path": "clip.mp4", "caption": "A red kite"}'


@dataclass(frozen=True)
class RawItem:
    """A file to train on.

    Args:
        name: its name in the encoded data set: the path as written in the source, unique in the source.
        path: of the file.
        caption: without a system prompt.
        kind: image or video.
        motion: motion score given by the source; None if it gives none.
    """

    name: str
    path: Path
    caption: str
    kind: str
    motion: float | None = None


@dataclass(frozen=True)
class RawSource:
    """The items of a source, and an error message, by name, for each file that cannot be used."""

    items: tuple[RawItem, ...]
    faults: Mapping[str, str]


def read_source(path: Path) -> RawSource:
    """The items of a folder, or of a .jsonl or .json file.

    A folder is searched recursively; clip.txt is the caption of clip.mp4. A list has records with ``path`` (relative to
    the list, or absolute), ``caption`` or ``prompt``, optionally ``motion`` or ``unimatch_flow``, and optionally
    ``kind`` (image or video; by default the suffix decides).
    Raises LuminaError if the source does not exist, cannot be read, is empty, or has no usable item.
    """
    if path.is_dir():
        return _checked(path, *_from_folder(path))
    if not path.is_file():
        raise LuminaError(
            f"Data {path} does not exist; give a folder of videos and images, or a .jsonl or .json list.",
            field="data",
            kind="missing",
        )
    if path.suffix.lower() not in (".jsonl", ".json"):
        raise LuminaError(
            f"Data {path.name} is neither a folder nor a list; give a folder, or a .jsonl or .json file.",
            field="data",
            kind="file",
        )
    return _checked(path, *_from_records(path))


def with_scores(items: tuple[RawItem, ...], scores: Mapping[str, float]) -> tuple[RawItem, ...]:
    """The items, with the motion scores of clips replaced by those of ``media.motion_score.read_scores``.

    A score is matched by path, by name, or by file name if that is unique. Clips without a match have no score.

    Raises LuminaError if there is a score for none of them.
    """
    counts = Counter(Path(path).name for path in scores)
    by_file = {Path(path).name: score for path, score in scores.items() if counts[Path(path).name] == 1}

    def score(item: RawItem) -> float | None:
        return scores.get(str(item.path), scores.get(item.name, by_file.get(item.path.name)))

    found = tuple(replace(item, motion=score(item)) if item.kind == VIDEO else item for item in items)
    if not any(item.motion is not None for item in found):
        raise LuminaError(
            f"The scores are for other files: the first is {next(iter(scores))!r}, and the first of the data is "
            f"{items[0].name!r}; use the same paths or file names.",
            field="scores",
            kind="mismatch",
        )
    return found


def _checked(path: Path, items: list[RawItem], faults: dict[str, str]) -> RawSource:
    if not items and not faults:
        raise LuminaError(
            f"Data {path} contains no video and no image; add some, with a caption for each.",
            field="data",
            kind="missing",
        )
    if not items:
        raise LuminaError(
            f"Data {path} has nothing to train on: {next(iter(faults.values()))}", field="data", kind="missing"
        )
    return RawSource(tuple(items), faults)


def _from_folder(folder: Path) -> tuple[list[RawItem], dict[str, str]]:
    items: list[RawItem] = []
    faults: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        kind = _kind(file)
        name = file.relative_to(folder)
        if kind is None or not file.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        try:
            items.append(RawItem(name.as_posix(), file, _caption_file(file), kind))
        except LuminaError as error:
            faults[name.as_posix()] = str(error)
    return items, faults


def _caption_file(file: Path) -> str:
    """The caption of a file, from the .txt file of the same name."""
    source = file.with_suffix(".txt")
    if not source.is_file():
        raise LuminaError(
            f"{file.name} has no caption; write one to {source.name} in the same folder.",
            field="caption",
            kind="missing",
        )
    caption = _text(source).strip()
    if not caption:
        raise LuminaError(
            f"The caption {source.name} is empty; write what {file.name} shows.", field="caption", kind="missing"
        )
    return caption


def _from_records(path: Path) -> tuple[list[RawItem], dict[str, str]]:
    items: list[RawItem] = []
    faults: dict[str, str] = {}
    counts: Counter[str] = Counter()
    scales: dict[str, str] = {}
    for place, record in _records(path):
        if not isinstance(record, dict) or not isinstance(record.get("path"), str) or not record["path"]:
            raise LuminaError(
                f"{place} is not an object with a path; write an object such as {_RECORD}.", field="data", kind="file"
            )
        counts[record["path"]] += 1
        # A file may occur several times with different captions.
        count = counts[record["path"]]
        name = record["path"] if count == 1 else f"{record['path']}#{count}"
        try:
            items.append(_item(name, path.parent / record["path"], record, place))
        except LuminaError as error:
            faults[name] = str(error)
        scales.setdefault(_score_key(record), place)
    scales.pop("", None)
    if len(scales) > 1:
        found = " and ".join(f"{key} ({place})" for key, place in scales.items())
        raise LuminaError(
            f"Data {path.name} mixes motion scores of two scales, {found}; keep one of them.", field="data", kind="file"
        )
    return items, faults


def _score_key(record: dict[str, Any]) -> str:
    """Key of the motion score that is used of a record; empty if it has none."""
    return next((key for key in SCORE_KEYS if record.get(key) is not None), "")


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """(place for messages, record) of each."""
    text = _text(path)
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                place = f"{path.name} line {number}"
                yield place, _parsed(line, place, f"one object on each line, such as {_RECORD}")
        return
    records = _parsed(text, path.name, f"a list of objects such as {_RECORD}") if text.strip() else []
    if not isinstance(records, list):
        raise LuminaError(
            f"{path.name} is not a list; write [{_RECORD}, ...], or one object per line in a .jsonl file.",
            field="data",
            kind="file",
        )
    for number, record in enumerate(records, 1):
        yield f"{path.name} record {number}", record


def _item(name: str, file: Path, record: dict[str, Any], place: str) -> RawItem:
    caption = next((record[key] for key in CAPTION_KEYS if record.get(key) is not None), None)
    if not isinstance(caption, str) or not caption.strip():
        raise LuminaError(
            f'{place} has no caption for {file.name}; add "caption" with what it shows.',
            field="caption",
            kind="missing",
        )
    kind = record.get("kind", _kind(file))
    if kind not in (IMAGE, VIDEO):
        found = f"kind {kind!r}" if "kind" in record else f"a file of unknown kind, {file.name}"
        raise LuminaError(f'{place} has {found}; set "kind" to "{VIDEO}" or "{IMAGE}".', field="kind", kind="value")
    motion = record.get(_score_key(record))
    is_number = isinstance(motion, (int, float)) and not isinstance(motion, bool)
    if motion is not None and not (is_number and math.isfinite(motion) and motion >= 0):
        raise LuminaError(
            f"{place} has motion score {motion!r}; write a number, 0 or more, or omit it.", field="motion", kind="value"
        )
    return RawItem(name, file, caption.strip(), kind, None if motion is None else float(motion))


def _kind(file: Path) -> str | None:
    return next((kind for kind, suffixes in SUFFIXES.items() if file.suffix.lower() in suffixes), None)


def _parsed(text: str, place: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise LuminaError(
            f"{place} is not JSON ({error}), expected {expected}; fix the file.", field="data", kind="file"
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LuminaError(
            f"{path} cannot be read ({error}); save it as a text file in UTF-8.", field="data", kind="file"
        ) from None
