"""What encoding video and audio sources has in common: progress, the settings of an earlier run, skipped items."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import LuminaError
from ..runtime.atomic import atomic_write
from .shards import INDEX

SETTINGS, SKIPPED = "encode.json", "skipped.jsonl"


class EncodeWatcher:
    """Receives the progress of encoding; this one ignores it. Subclass to show it."""

    def note(self, text: str) -> None:
        """Something the user should know, one sentence."""

    def begin(self, items: int, done: int) -> None:
        """Encoding begins: items of the source, and how many of them an earlier run has saved."""

    def item(self, name: str) -> None:
        """An item is encoded or skipped."""


@dataclass(frozen=True)
class EncodeResult:
    """Items in the set, how many of them this run added, and a sentence for each that was skipped, by name."""

    items: int
    added: int
    skipped: Mapping[str, str]


@contextlib.contextmanager
def as_lumina_error(out: Path) -> Iterator[None]:
    """Raise what goes wrong while ``out`` is written, such as a full disk, as a LuminaError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise LuminaError(
            f"{out} cannot be written ({error}); what was saved before stays: make room and run again to continue.",
            field="out",
            kind="resource",
        ) from error


def check_settings(out: Path, wanted: Mapping[str, Any], parts: Mapping[str, str]) -> None:
    """Note how a new set is encoded; raise LuminaError for one that was encoded otherwise.

    ``parts`` names the settings that are digests of weights, for the sentence.
    """
    file = out / SETTINGS
    if not file.exists():
        if (out / INDEX).exists():
            raise LuminaError(f"{out} holds encoded data without {SETTINGS}; encode into a new folder.")
        out.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as part:
            part.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        changed = [name for name, value in wanted.items() if found.get(name) != value]
    except (ValueError, AttributeError):
        raise LuminaError(f"{file} is not of this program; encode into a new folder.") from None
    if changed:
        old = (f"another {parts[name]}" if name in parts else f"{name} {found.get(name)}" for name in changed)
        raise LuminaError(
            f"{out} was encoded with {', '.join(old)}; use what it was encoded with to continue it, or encode into a "
            "new folder."
        )


def digest_of(module: nn.Module) -> str:
    """Of a module's weights, the same in every number format that they are loaded in."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.to("cpu", torch.bfloat16).reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def note_new_captions(captions: Mapping[str, str], entries: Iterable[Any], watcher: EncodeWatcher) -> None:
    """Tell of captions, by the name of an item, that are other than those of its entry in the set."""
    changed = [entry.name for entry in entries if captions.get(entry.name, entry.caption) != entry.caption]
    if changed:
        watcher.note(
            f"{len(changed)} captions have changed since they were encoded, such as that of {changed[0]}, and the old "
            "ones stay; encode into a new folder to use the new ones."
        )


def write_skipped(out: Path, skipped: Mapping[str, str]) -> None:
    """List what was skipped, and why."""
    with atomic_write(out / SKIPPED) as part:
        lines = [json.dumps({"name": name, "error": error}, ensure_ascii=False) for name, error in skipped.items()]
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
