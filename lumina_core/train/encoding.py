"""Common parts of encoding video and audio sources: progress, settings of earlier runs, skipped items."""

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

# Files in the folder of an encoded data set.
SETTINGS, SKIPPED = "encode.json", "skipped.jsonl"


class EncodeObserver:
    """Receives the progress of encoding and ignores it; subclass it to show the progress."""

    def note(self, text: str) -> None:
        """A notice for the user, one sentence."""

    def begin(self, items: int, done: int) -> None:
        """Encoding begins: number of items in the source, and how many of them an earlier run has encoded."""

    def item(self, name: str) -> None:
        """An item was encoded or skipped."""


@dataclass(frozen=True)
class EncodeResult:
    """Result of encoding.

    Args:
        items: number of items in the data set.
        added: number of items that this run added.
        skipped: error message of each skipped item, by name.
    """

    items: int
    added: int
    skipped: Mapping[str, str]


@contextlib.contextmanager
def as_lumina_error(out: Path) -> Iterator[None]:
    """Context that turns errors of writing ``out``, such as a full disk, into a LuminaError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise LuminaError(
            f"{out} cannot be written ({error}); free disk space and run the command again to resume.",
            field="out",
            kind="resource",
        ) from error


def check_settings(out: Path, wanted: Mapping[str, Any], parts: Mapping[str, str]) -> None:
    """Write the settings of a new data set, or compare them with those of an existing one.

    Args:
        out: folder of the data set; created if it does not exist.
        wanted: settings, and digests of weights.
        parts: display names of those settings that are digests.

    Raises:
        LuminaError: the data set was encoded with other settings, or has none.
    """
    file = out / SETTINGS
    if not file.exists():
        if (out / INDEX).exists():
            raise LuminaError(
                f"{out} contains encoded data without {SETTINGS}; encode into a new folder.", field="out", kind="file"
            )
        out.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as part:
            part.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        changed = [name for name, value in wanted.items() if found.get(name) != value]
    except (ValueError, AttributeError):
        raise LuminaError(
            f"{file} was not written by the encode command; encode into a new folder.", field="out", kind="file"
        ) from None
    if changed:
        old = (f"another {parts[name]}" if name in parts else f"{name} {found.get(name)}" for name in changed)
        raise LuminaError(
            f"{out} was encoded with {', '.join(old)}; use the same settings and models to continue it, or encode into "
            "a new folder.",
            field="out",
            kind="mismatch",
        )


def weights_digest(module: nn.Module) -> str:
    """Digest of a module's weights, the same for every dtype that they are loaded in."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.to("cpu", torch.bfloat16).reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def note_changed_captions(captions: Mapping[str, str], entries: Iterable[Any], observer: EncodeObserver) -> None:
    """Notify the user of captions that differ from those in the data set.

    Args:
        captions: by item name.
        entries: of the data set, with ``name`` and ``caption``.
        observer: receives the notice.
    """
    changed = [entry.name for entry in entries if captions.get(entry.name, entry.caption) != entry.caption]
    if changed:
        observer.note(
            f"{len(changed)} captions have changed since they were encoded, such as that of {changed[0]}, and the data "
            "set keeps the old ones; encode into a new folder to use the new ones."
        )


def write_skipped(out: Path, skipped: Mapping[str, str]) -> None:
    """Write skipped.jsonl, with the error message of each skipped item."""
    with atomic_write(out / SKIPPED) as part:
        lines = [json.dumps({"name": name, "error": error}, ensure_ascii=False) for name, error in skipped.items()]
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
