"""Encoded training items on disk: tensors in safetensors shards, one line of text for each item.

A shard is written beside its final name and moved there, then its lines are added to the index; a shard without lines
(a kill between the two) is overwritten by the next one. So what the index names is always whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch

from ..errors import LuminaError
from ..runtime.atomic import atomic_write

INDEX = "index.jsonl"
ITEMS_PER_SHARD = 256
IMAGE, VIDEO = "image", "video"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One item of an encoded set.

    Args:
        name: what the item was made from; unique in its set.
        kind: image or video.
        caption: without any system prompt.
        motion: motion score, None when it is not known.
        shape: of the latents, (C, F, H, W).
        fps: frames per second of the clip before encoding, None for an image.
        shard: file name.
    """

    name: str
    kind: str
    caption: str
    motion: float | None
    shape: tuple[int, int, int, int]
    fps: float | None
    shard: str


class AnyEntry(Protocol):
    """A frozen dataclass that is one item's line in the index."""

    # What makes a class a dataclass for the type checker.
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...
    @property
    def shard(self) -> str: ...


EntryT = TypeVar("EntryT", bound=AnyEntry)


class ItemWriter(Generic[EntryT]):
    """Adds items of one kind to a set, from where an earlier run stopped. Use as a context manager."""

    def __init__(self, folder: Path, kind: type[EntryT], items_per_shard: int):
        self.folder, self.kind, self.items_per_shard = folder, kind, items_per_shard
        folder.mkdir(parents=True, exist_ok=True)
        entries = _repaired_index(folder, kind) if (folder / INDEX).exists() else []
        self.done = {entry.name for entry in entries}
        """Names of the items that are safe on disk."""
        self._shards = len({entry.shard for entry in entries})
        self._tensors: dict[str, torch.Tensor] = {}
        self._entries: list[EntryT] = []

    def __enter__(self):
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Also after an error: what was encoded until then is kept.
        if kind is None or issubclass(kind, (Exception, KeyboardInterrupt)):
            self.flush()

    def put(self, tensors: Mapping[str, torch.Tensor], **about: Any) -> None:
        """Take one item: its tensors, kept in float16, by the end of their names, and the other fields of its line."""
        place = _place(len(self._entries))
        for end, tensor in tensors.items():
            self._tensors[place + end] = tensor.to("cpu", torch.float16, copy=True).contiguous()
        self._entries.append(self.kind(**about, shard=f"shard-{self._shards:05d}.safetensors"))
        if len(self._entries) == self.items_per_shard:
            self.flush()

    def flush(self) -> None:
        """Put what was added on disk."""
        if not self._entries:
            return
        from safetensors.torch import save_file

        target = self.folder / self._entries[0].shard
        with atomic_write(target, unique=False) as part:
            save_file(self._tensors, part)
        _append(self.folder / INDEX, "".join(_line(entry) for entry in self._entries).encode())
        self.done |= {entry.name for entry in self._entries}
        self._tensors, self._entries = {}, []
        self._shards += 1


class ShardWriter(ItemWriter[Entry]):
    """Adds clips and pictures to an encoded set."""

    def __init__(self, folder: Path, items_per_shard: int = ITEMS_PER_SHARD):
        super().__init__(folder, Entry, items_per_shard)

    def add(
        self, name: str, kind: str, caption: str, motion: float | None, latents: torch.Tensor, fps: float | None
    ) -> None:
        """Take one item; float16 holds the range of the VAE's latents (C, F, H, W)."""
        shape = tuple(latents.shape)
        self.put({"": latents}, name=name, kind=kind, caption=caption, motion=motion, shape=shape, fps=fps)


class ItemSet(Generic[EntryT]):
    """A set for reading; tensors are read when asked for. Raises LuminaError for a set that is not whole."""

    def __init__(self, folder: Path, kind: type[EntryT]):
        self.folder = folder
        self.entries = read_index(folder, kind)
        if not self.entries:
            raise LuminaError(f"The encoded data in {folder} holds no item; encode the source again.")
        self._keys = _keys(self.entries)
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def tensor(self, index: int, end: str) -> torch.Tensor:
        """One of an entry's tensors, float32, by the end of its name."""
        return self._shard(self.entries[index].shard).get_tensor(self._keys[index] + end).float()

    def _shard(self, name: str) -> Any:
        from safetensors import SafetensorError, safe_open

        if name not in self._open:
            try:
                self._open[name] = safe_open(self.folder / name, framework="pt")
            except (SafetensorError, OSError) as error:
                raise LuminaError(
                    f"{self.folder / name} cannot be read ({error}); delete this folder and encode the source again."
                ) from None
        return self._open[name]


class EncodedSet(ItemSet[Entry]):
    """Clips and pictures for reading."""

    def __init__(self, folder: Path):
        super().__init__(folder, Entry)

    def latents(self, index: int) -> torch.Tensor:
        """Latents (C, F, H, W), float32, of one entry."""
        return self.tensor(index, "")


def read_index(folder: Path, kind: type[EntryT]) -> list[EntryT]:
    """The entries of an encoded set. A last line cut short by a kill is left out; raises LuminaError for other faults.
    """
    file = folder / INDEX
    if not file.is_file():
        raise LuminaError(f"{folder} holds no {INDEX}; give a folder that the encode command has written.")
    # As bytes: a kill may cut a character, and in texts more than the end of a line counts as one.
    lines = file.read_bytes().splitlines(keepends=True)
    names = {field.name for field in fields(kind)}
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            if not isinstance(values, dict) or set(values) != names:
                raise ValueError("other fields")
        except ValueError:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise LuminaError(
                f"{file} line {number} is not an entry of this program; encode the source again."
            ) from None
        shapes = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        entries.append(kind(**values | shapes))
    return entries


def _repaired_index(folder: Path, kind: type[EntryT]) -> list[EntryT]:
    """The entries, with a last line that a kill cut short taken out of the file, so that more can be added to it."""
    entries = read_index(folder, kind)
    file = folder / INDEX
    if not file.read_bytes().endswith(b"\n"):
        with atomic_write(file, unique=False) as part:
            part.write_text("".join(_line(entry) for entry in entries), encoding="utf-8")
    return entries


def _append(file: Path, text: bytes) -> None:
    """Add to a file all or nothing: a disk that is full half-way leaves it as it was."""
    with file.open("ab", buffering=0) as lines:
        start = lines.tell()
        try:
            if lines.write(text) < len(text):
                raise OSError(f"{file} could not be written in full")
        except OSError:
            lines.truncate(start)
            raise


def _line(entry: AnyEntry) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False) + "\n"


def _place(number: int) -> str:
    """What the names of an item's tensors begin with: its place among its shard's items."""
    return f"{number:05d}"


def _keys(entries: list[EntryT]) -> list[str]:
    """What the names of each entry's tensors begin with in its shard."""
    counts: dict[str, int] = {}
    keys = []
    for entry in entries:
        place = counts.get(entry.shard, 0)
        counts[entry.shard] = place + 1
        keys.append(_place(place))
    return keys
