"""Encoded data sets on disk: tensors in safetensors shards, plus an index with one JSON line per item.

A shard is written under a temporary name and renamed; then its lines are appended to the index. If the process is
killed between the two, the next shard overwrites the one without lines. So everything in the index is complete.
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
    """Index entry of one clip or image.

    Args:
        name: path of its file in the source; unique in the data set.
        kind: image or video.
        caption: without a system prompt.
        motion: motion score in pixels per half second at 320 x 576; None if unknown.
        shape: of the latents, (C, F, H, W).
        fps: frame rate of the encoded clip; None for an image.
        shard: file name of the shard.
    """

    name: str
    kind: str
    caption: str
    motion: float | None
    shape: tuple[int, int, int, int]
    fps: float | None
    shard: str


class AnyEntry(Protocol):
    """A frozen dataclass with the fields of one index line."""

    # Makes the protocol match dataclasses only.
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...
    @property
    def shard(self) -> str: ...


EntryT = TypeVar("EntryT", bound=AnyEntry)


class ItemWriter(Generic[EntryT]):
    """Adds items to an encoded data set, which may have some already. Use it as a context manager.

    Args:
        folder: of the data set; created if it does not exist.
        kind: class of the index entries.
        items_per_shard: number of items after which a shard is written.
    """

    def __init__(self, folder: Path, kind: type[EntryT], items_per_shard: int):
        self.folder, self.kind, self.items_per_shard = folder, kind, items_per_shard
        folder.mkdir(parents=True, exist_ok=True)
        entries = _repaired_index(folder, kind) if (folder / INDEX).exists() else []
        # Names of the items that are on disk.
        self.done = {entry.name for entry in entries}
        self._shards = len({entry.shard for entry in entries})
        self._tensors: dict[str, torch.Tensor] = {}
        self._entries: list[EntryT] = []

    def __enter__(self):
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error too, so that what was encoded before is kept.
        if kind is None or issubclass(kind, (Exception, KeyboardInterrupt)):
            self.flush()

    def put(self, tensors: Mapping[str, torch.Tensor], **about: Any) -> None:
        """Add one item.

        Args:
            tensors: by suffix of their key in the shard; stored as float16.
            about: all fields of the index entry except ``shard``.
        """
        prefix = _key_prefix(len(self._entries))
        for suffix, tensor in tensors.items():
            self._tensors[prefix + suffix] = tensor.to("cpu", torch.float16, copy=True).contiguous()
        fields_of_entry = about | {"shard": f"shard-{self._shards:05d}.safetensors"}
        self._entries.append(self.kind(**fields_of_entry))
        if len(self._entries) == self.items_per_shard:
            self.flush()

    def flush(self) -> None:
        """Write the items that are not yet on disk, as one shard. Raises OSError or SafetensorError."""
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
    """Adds clips and images to an encoded data set; see ``ItemWriter``."""

    def __init__(self, folder: Path, items_per_shard: int = ITEMS_PER_SHARD):
        super().__init__(folder, Entry, items_per_shard)

    def add(
        self, name: str, kind: str, caption: str, motion: float | None, latents: torch.Tensor, fps: float | None
    ) -> None:
        """Add one clip or image; see ``Entry``. The VAE's latents (C, F, H, W) fit in the range of float16."""
        shape = tuple(latents.shape)
        self.put({"": latents}, name=name, kind=kind, caption=caption, motion=motion, shape=shape, fps=fps)


class ItemSet(Generic[EntryT]):
    """An encoded data set for reading; tensors are read lazily.

    Args:
        folder: of the data set.
        kind: class of the index entries.

    Raises:
        LuminaError: the data set is missing, empty or damaged.
    """

    def __init__(self, folder: Path, kind: type[EntryT]):
        self.folder = folder
        self.entries = read_index(folder, kind)
        if not self.entries:
            raise LuminaError(
                f"The encoded data in {folder} is empty; encode the source again.", field="encoded", kind="file"
            )
        self._prefixes = _key_prefixes(self.entries)
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def tensor(self, index: int, suffix: str) -> torch.Tensor:
        """One tensor of the item at ``index`` as float32, by the suffix of its key. Raises LuminaError."""
        return self._shard(self.entries[index].shard).get_tensor(self._prefixes[index] + suffix).float()

    def _shard(self, name: str) -> Any:
        from safetensors import SafetensorError, safe_open

        if name not in self._open:
            try:
                self._open[name] = safe_open(self.folder / name, framework="pt")
            except (SafetensorError, OSError) as error:
                raise LuminaError(
                    f"{self.folder / name} cannot be read ({error}); delete this folder and encode the source again.",
                    field="encoded",
                    kind="file",
                ) from None
        return self._open[name]


class EncodedSet(ItemSet[Entry]):
    """An encoded data set of clips and images; see ``ItemSet``."""

    def __init__(self, folder: Path):
        super().__init__(folder, Entry)

    def latents(self, index: int) -> torch.Tensor:
        """Latents (C, F, H, W), float32, of the item at ``index``. Raises LuminaError."""
        return self.tensor(index, "")


def read_index(folder: Path, kind: type[EntryT]) -> list[EntryT]:
    """The index entries of an encoded data set.

    A truncated last line, which a killed process leaves, is ignored. Raises LuminaError if the index is missing or has
    another invalid line.
    """
    file = folder / INDEX
    if not file.is_file():
        raise LuminaError(
            f"{folder} has no {INDEX}; give a folder that was written by the encode command.",
            field="encoded",
            kind="missing",
        )
    # Read as bytes: a character may be truncated, and str.splitlines splits at more than line ends.
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
                f"{file} line {number} is not a valid index entry; encode the source again.",
                field="encoded",
                kind="file",
            ) from None
        shapes = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        entries.append(kind(**values | shapes))
    return entries


def _repaired_index(folder: Path, kind: type[EntryT]) -> list[EntryT]:
    """The index entries, after removing a truncated last line from the file, so that lines can be appended."""
    entries = read_index(folder, kind)
    file = folder / INDEX
    if not file.read_bytes().endswith(b"\n"):
        with atomic_write(file, unique=False) as part:
            part.write_text("".join(_line(entry) for entry in entries), encoding="utf-8")
    return entries


def _append(file: Path, text: bytes) -> None:
    """Append to a file; if the disk becomes full, the file is restored. Raises OSError."""
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


def _key_prefix(position: int) -> str:
    """Prefix of the tensor keys of the item at a position within its shard."""
    return f"{position:05d}"


def _key_prefixes(entries: list[EntryT]) -> list[str]:
    """Prefix of the tensor keys of each entry."""
    counts: dict[str, int] = {}
    prefixes = []
    for entry in entries:
        position = counts.get(entry.shard, 0)
        counts[entry.shard] = position + 1
        prefixes.append(_key_prefix(position))
    return prefixes
