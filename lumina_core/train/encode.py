"""A data source into an encoded set: every file through the VAE once, so that training does not need it.

Source: tools/pre_extract/pre_extract.py and train.py of Lumina-Video. Like there the first latent frame of a clip,
which stands for one video frame alone, is not trained on; here it is dropped when encoding, so that an encoded set is
what is trained on. Unlike there a clip goes through the VAE in one stream, 8 frames after 8: the official script gives
it 32 frames at a time to diffusers 0.30.2, which normalises over all of them, and clips of more than 32 frames have
their single frame at the beginning of the last part.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..errors import LuminaError
from ..media import replacing
from ..motion import Flow, dis_flow, file_motion_score
from ..vae_codec import VideoVAE
from .clips import EncodeSettings, read_clip, read_picture
from .shards import INDEX, VIDEO, ShardWriter, read_index
from .sources import RawItem, RawSource

SETTINGS, SKIPPED = "encode.json", "skipped.jsonl"
_SHARD_ITEMS, _SHARD_SECONDS = 64, 300.0
"""What a kill may cost at most."""
_FLOW_INTERVAL = 0.5


class EncodeWatcher:
    """Told how encoding goes; this one ignores it. Subclass to show it."""

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


@dataclass(frozen=True)
class _Ready:
    """An item before the VAE: frames (f, H, W, 3) in 0..1."""

    item: RawItem
    frames: torch.Tensor
    motion: float | None


def encode_source(
    source: RawSource, vae: VideoVAE, out: Path, settings: EncodeSettings, watcher: EncodeWatcher | None = None
) -> EncodeResult:
    """Encode what is not yet in the folder ``out``, in the order of the source.

    A run that ended early is continued by the next. Files that cannot be used are skipped and listed in skipped.jsonl.
    Raises LuminaError when ``out`` was encoded otherwise, cannot be written, or no item at all can be used; what was
    encoded until then stays.
    """
    watcher = watcher or EncodeWatcher()
    skipped = dict(source.faults)
    motion = _Motion(source.items, watcher)
    added = 0
    with _told(out):
        _check_settings(out, settings, vae)
        with ShardWriter(out, _SHARD_ITEMS) as writer:
            before = set(writer.done)
            _note_new_captions(source.items, out, watcher)
            items = [item for item in source.items if item.name not in before]
            watcher.begin(len(source.items), len(source.items) - len(items))
            saved = time.monotonic()
            with contextlib.closing(_read_ahead(items, settings, motion)) as read:
                for item, ready in read:
                    try:
                        _add(writer, ready(), vae, settings)
                        added += 1
                    except LuminaError as error:
                        skipped[item.name] = str(error)
                    if time.monotonic() - saved > _SHARD_SECONDS:
                        writer.flush()
                        saved = time.monotonic()
                    watcher.item(item.name)
        _write_skipped(out, skipped)
    if not before and not added:
        raise LuminaError(
            f"None of the {len(skipped)} items could be encoded, see {out / SKIPPED}; the first: "
            f"{next(iter(skipped.values()))}"
        )
    return EncodeResult(len(before) + added, added, skipped)


class _Motion:
    """Scores of clips: those of the source where it has any, as its scale may be another, else measured."""

    def __init__(self, items: Sequence[RawItem], watcher: EncodeWatcher):
        clips = [item for item in items if item.kind == VIDEO]
        without = sum(item.motion is None for item in clips)
        self._flow: Flow | None = dis_flow() if clips and without == len(clips) else None
        if clips and self._flow is None and without:
            watcher.note(
                f"{without} of {len(clips)} clips have no motion score; they are trained without one, as scores "
                "measured here may be on another scale than those given."
            )

    def score(self, item: RawItem, seconds: float) -> float | None:
        """None where it is not known, which includes a clip too short for it."""
        if self._flow is None or seconds <= _FLOW_INTERVAL:
            return item.motion
        return file_motion_score(item.path, self._flow, seconds=seconds)


def _add(writer: ShardWriter, ready: _Ready, vae: VideoVAE, settings: EncodeSettings) -> None:
    item, is_clip = ready.item, ready.item.kind == VIDEO
    latents = vae.encode(ready.frames)[0]
    if not latents.isfinite().all():
        kind = str(vae.dtype).removeprefix("torch.")
        raise LuminaError(f"{item.path} encodes to values that are not finite in {kind}; use bf16 or fp32.")
    kept = latents[:, 1:] if is_clip else latents
    writer.add(item.name, item.kind, item.caption, ready.motion, kept, settings.fps if is_clip else None)


def _read(item: RawItem, settings: EncodeSettings, motion: _Motion) -> _Ready:
    if item.kind != VIDEO:
        return _Ready(item, read_picture(item.path, settings), None)
    frames = read_clip(item.path, settings)
    return _Ready(item, frames, motion.score(item, len(frames) / settings.fps))


def _read_ahead(items: Sequence[RawItem], settings: EncodeSettings, motion: _Motion) -> Iterator[tuple]:
    """(item, function that returns it read or raises) of each; the next is read while the caller works on one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(_read, items[0], settings, motion) if items else None
        for number, item in enumerate(items):
            current = coming
            if number + 1 < len(items):
                coming = pool.submit(_read, items[number + 1], settings, motion)
            yield item, current.result


@contextlib.contextmanager
def _told(out: Path) -> Iterator[None]:
    """A full disk and the like as a LuminaError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise LuminaError(
            f"{out} cannot be written ({error}); what was saved before stays: make room and run again to continue."
        ) from error


def _check_settings(out: Path, settings: EncodeSettings, vae: VideoVAE) -> None:
    """Note how a new set is encoded; raise LuminaError for one that was encoded otherwise."""
    wanted = {**asdict(settings), "vae": _digest(vae)}
    file = out / SETTINGS
    if not file.exists():
        if (out / INDEX).exists():
            raise LuminaError(f"{out} holds encoded data without {SETTINGS}; encode into a new folder.")
        out.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        changed = [name for name, value in wanted.items() if found.get(name) != value]
    except (ValueError, AttributeError):
        raise LuminaError(f"{file} is not of this program; encode into a new folder.") from None
    if changed:
        told = ", ".join("another VAE" if name == "vae" else f"{name} {found.get(name)}" for name in changed)
        raise LuminaError(
            f"{out} was encoded with {told}; use what it was encoded with to continue it, or encode into a new folder."
        )


def _digest(vae: VideoVAE) -> str:
    """Of the weights, the same in every number format that they are loaded in."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(vae.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.to("cpu", torch.bfloat16).reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _note_new_captions(items: Sequence[RawItem], out: Path, watcher: EncodeWatcher) -> None:
    if not (out / INDEX).exists():
        return
    old = {entry.name: entry.caption for entry in read_index(out)}
    changed = [item.name for item in items if old.get(item.name, item.caption) != item.caption]
    if changed:
        watcher.note(
            f"{len(changed)} captions have changed since they were encoded, such as that of {changed[0]}, and the old "
            "ones stay; encode into a new folder to use the new ones."
        )


def _write_skipped(out: Path, skipped: Mapping[str, str]) -> None:
    with replacing(out / SKIPPED) as part:
        lines = [json.dumps({"name": name, "error": error}, ensure_ascii=False) for name, error in skipped.items()]
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
