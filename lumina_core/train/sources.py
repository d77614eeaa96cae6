"""What a data source holds: a folder of files with a caption beside each, or a list in JSON."""

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
        name: what it is called in the encoded set: its path as the source writes it, unique in the source.
        path: of the file.
        caption: without any system prompt.
        kind: image or video.
        motion: score that the source gives, None when it gives none.
    """

    name: str
    path: Path
    caption: str
    kind: str
    motion: float | None = None


@dataclass(frozen=True)
class RawSource:
    """The items of a source, and a sentence for each file, by name, that cannot be one."""

    items: tuple[RawItem, ...]
    faults: Mapping[str, str]


def read_source(path: Path) -> RawSource:
    """The items of a folder, a .jsonl or a .json file.

    A folder is searched with all folders in it; clip.txt is the caption of clip.mp4. A list has records with `path`
    (relative to the list, or absolute), `caption` or `prompt`, and as wanted `motion` or `unimatch_flow`, and `kind`
    (image or video, else told by the suffix).
    Raises LuminaError for a source that is not there, cannot be read, is empty, or has no caption at all.
    """
    if path.is_dir():
        return _checked(path, *_from_folder(path))
    if not path.is_file():
        raise LuminaError(f"Data {path} does not exist; give a folder of videos and images, or a .jsonl or .json list.")
    if path.suffix.lower() not in (".jsonl", ".json"):
        raise LuminaError(f"Data {path.name} is no folder and no list; give a folder, or a file named .jsonl or .json.")
    return _checked(path, *_from_records(path))


def with_scores(items: tuple[RawItem, ...], scores: Mapping[str, float]) -> tuple[RawItem, ...]:
    """The items with the scores of a file (`motion.read_scores`) in place of their own.

    A score is found by path, by name, or by file name where only one has it.

    Raises LuminaError when it has a score for none of them.
    """
    times = Counter(Path(path).name for path in scores)
    by_file = {Path(path).name: score for path, score in scores.items() if times[Path(path).name] == 1}

    def score(item: RawItem) -> float | None:
        return scores.get(str(item.path), scores.get(item.name, by_file.get(item.path.name)))

    found = tuple(replace(item, motion=score(item)) if item.kind == VIDEO else item for item in items)
    if not any(item.motion is not None for item in found):
        raise LuminaError(
            f"The scores are of other files: the first is {next(iter(scores))!r}, the data's first is "
            f"{items[0].name!r}; give the same paths or file names."
        )
    return found


def _checked(path: Path, items: list[RawItem], faults: dict[str, str]) -> RawSource:
    if not items and not faults:
        raise LuminaError(f"Data {path} is empty: it holds no video and no image; add some, with a caption for each.")
    if not items:
        raise LuminaError(f"Data {path} has nothing to train on: {next(iter(faults.values()))}")
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
            items.append(RawItem(name.as_posix(), file, _caption_beside(file), kind))
        except LuminaError as error:
            faults[name.as_posix()] = str(error)
    return items, faults


def _caption_beside(file: Path) -> str:
    source = file.with_suffix(".txt")
    if not source.is_file():
        raise LuminaError(f"{file.name} has no caption; write one into {source.name} beside it.")
    caption = _text(source).strip()
    if not caption:
        raise LuminaError(f"The caption {source.name} is empty; write what {file.name} shows.")
    return caption


def _from_records(path: Path) -> tuple[list[RawItem], dict[str, str]]:
    items: list[RawItem] = []
    faults: dict[str, str] = {}
    times: Counter[str] = Counter()
    scales: dict[str, str] = {}
    for place, record in _records(path):
        if not isinstance(record, dict) or not isinstance(record.get("path"), str) or not record["path"]:
            raise LuminaError(f"{place} is no object with a path; write such as {_RECORD}.")
        times[record["path"]] += 1
        # One file may have several captions.
        count = times[record["path"]]
        name = record["path"] if count == 1 else f"{record['path']}#{count}"
        try:
            items.append(_item(name, path.parent / record["path"], record, place))
        except LuminaError as error:
            faults[name] = str(error)
        scales.setdefault(_score_key(record), place)
    scales.pop("", None)
    if len(scales) > 1:
        told = " and ".join(f"{key} ({place})" for key, place in scales.items())
        raise LuminaError(f"Data {path.name} mixes motion scores of two scales, {told}; keep one of them.")
    return items, faults


def _score_key(record: dict[str, Any]) -> str:
    """Which of a record's scores counts; none where it has none."""
    return next((key for key in SCORE_KEYS if record.get(key) is not None), "")


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """(where it stands, record) of each."""
    text = _text(path)
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                place = f"{path.name} line {number}"
                yield place, _parsed(line, place, f"one object on each line, such as {_RECORD}")
        return
    records = _parsed(text, path.name, f"a list of objects such as {_RECORD}") if text.strip() else []
    if not isinstance(records, list):
        raise LuminaError(f"{path.name} holds no list; write [{_RECORD}, ...], or one object per line in a .jsonl.")
    for number, record in enumerate(records, 1):
        yield f"{path.name} record {number}", record


def _item(name: str, file: Path, record: dict[str, Any], place: str) -> RawItem:
    caption = next((record[key] for key in CAPTION_KEYS if record.get(key) is not None), None)
    if not isinstance(caption, str) or not caption.strip():
        raise LuminaError(f'{place} has no caption for {file.name}; add "caption" with what it shows.')
    kind = record.get("kind", _kind(file))
    if kind not in (IMAGE, VIDEO):
        found = f"kind {kind!r}" if "kind" in record else f"a file of unknown kind, {file.name}"
        raise LuminaError(f'{place} has {found}; add "kind" as "{VIDEO}" or "{IMAGE}".')
    motion = record.get(_score_key(record))
    number = isinstance(motion, (int, float)) and not isinstance(motion, bool)
    if motion is not None and not (number and math.isfinite(motion) and motion >= 0):
        raise LuminaError(f"{place} has motion score {motion!r}; write a number from 0, or leave it out.")
    return RawItem(name, file, caption.strip(), kind, None if motion is None else float(motion))


def _kind(file: Path) -> str | None:
    return next((kind for kind, suffixes in SUFFIXES.items() if file.suffix.lower() in suffixes), None)


def _parsed(text: str, place: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise LuminaError(f"{place} is not JSON ({error}), expected {expected}; mend it.") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LuminaError(f"{path} cannot be read ({error}); save it as text in UTF-8.") from None
