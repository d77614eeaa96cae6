"""A data source into an encoded set: every file through the VAE once, so that training does not need it.

Source: tools/pre_extract/pre_extract.py and train.py of Lumina-Video. Like there the first latent frame of a clip,
which stands for one video frame alone, is not trained on; here it is dropped when encoding, so that an encoded set is
what is trained on. Unlike there a clip goes through the VAE in one stream, 8 frames after 8: the official script gives
it 32 frames at a time to diffusers 0.30.2, which normalises over all of them, and clips of more than 32 frames have
their single frame at the beginning of the last part.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..errors import LuminaError
from ..media.motion_score import Flow, dis_flow, file_motion_score
from ..vae.codec import VideoVAE
from .clips import EncodeSettings, read_clip, read_picture
from .encoding import (
    SKIPPED,
    EncodeResult,
    EncodeWatcher,
    as_lumina_error,
    check_settings,
    digest_of,
    note_new_captions,
    write_skipped,
)
from .shards import VIDEO, Entry, ShardWriter, read_index
from .sources import RawItem, RawSource

_SHARD_ITEMS, _SHARD_SECONDS = 64, 300.0
"""What a kill may cost at most."""
_FLOW_INTERVAL = 0.5


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
    with as_lumina_error(out):
        check_settings(out, {**asdict(settings), "vae": digest_of(vae.module)}, {"vae": "VAE"})
        with ShardWriter(out, _SHARD_ITEMS) as writer:
            known = read_index(out, Entry) if writer.done else []
            before = set(writer.done)
            note_new_captions({item.name: item.caption for item in source.items}, known, watcher)
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
        write_skipped(out, skipped)
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


def _read_ahead(
    items: Sequence[RawItem], settings: EncodeSettings, motion: _Motion
) -> Generator[tuple[RawItem, Callable[[], _Ready]], None, None]:
    """(item, function that returns it read or raises) of each; the next is read while the caller works on one."""
    if not items:
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        following = pool.submit(_read, items[0], settings, motion)
        for number, item in enumerate(items):
            current = following
            if number + 1 < len(items):
                following = pool.submit(_read, items[number + 1], settings, motion)
            yield item, current.result
