"""Encodes a data source: every file passes through the VAE once, so that training does not need the VAE.

Source: tools/pre_extract/pre_extract.py and train.py of Lumina-Video. As in those, the first latent frame of a clip,
which covers a single video frame, is not trained on; it is dropped here, so that an encoded data set contains exactly
what is trained on. Unlike in those, a clip is encoded as one stream, 8 frames at a time. The official script passes 32
frames at a time to diffusers 0.30.2, which normalizes over all of them, and in clips of more than 32 frames the latent
frame that covers a single frame is at the beginning of the last chunk.
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
from .clips import EncodeSettings, read_clip, read_still
from .encoding import (
    SKIPPED,
    EncodeObserver,
    EncodeResult,
    as_lumina_error,
    check_settings,
    note_changed_captions,
    weights_digest,
    write_skipped,
)
from .shards import VIDEO, Entry, ShardWriter, read_index
from .sources import RawItem, RawSource

# A shard is written after this many items or seconds, which bounds the work that is lost if the process is killed.
_SHARD_ITEMS, _SHARD_SECONDS = 64, 300.0
# Seconds between two frames of the motion score; shorter clips have no score.
_FLOW_INTERVAL = 0.5


@dataclass(frozen=True)
class _Decoded:
    """An item before encoding: frames (f, H, W, 3) in 0..1."""

    item: RawItem
    frames: torch.Tensor
    motion: float | None


def encode_source(
    source: RawSource, vae: VideoVAE, out: Path, settings: EncodeSettings, observer: EncodeObserver | None = None
) -> EncodeResult:
    """Encode the items of a source that are not yet in ``out``, in the order of the source.

    An interrupted run is resumed by the next one. Files that cannot be used are skipped and listed in skipped.jsonl.

    Args:
        source: files and captions.
        vae: the network's VAE.
        out: folder of the encoded data set.
        settings: size, frame rate and length.
        observer: receives the progress.

    Returns:
        Number of items, and the skipped files.

    Raises:
        LuminaError: ``out`` was encoded with other settings or cannot be written, or no item can be used. What was
            encoded before is kept.
    """
    observer = observer or EncodeObserver()
    skipped = dict(source.faults)
    motion = _Motion(source.items, observer)
    added = 0
    with as_lumina_error(out):
        check_settings(out, {**asdict(settings), "vae": weights_digest(vae.module)}, {"vae": "VAE"})
        with ShardWriter(out, _SHARD_ITEMS) as writer:
            known = read_index(out, Entry) if writer.done else []
            before = set(writer.done)
            note_changed_captions({item.name: item.caption for item in source.items}, known, observer)
            items = [item for item in source.items if item.name not in before]
            observer.begin(len(source.items), len(source.items) - len(items))
            saved = time.monotonic()
            with contextlib.closing(_read_ahead(items, settings, motion)) as read:
                for item, decoded in read:
                    try:
                        _add(writer, decoded(), vae, settings)
                        added += 1
                    except LuminaError as error:
                        skipped[item.name] = str(error)
                    if time.monotonic() - saved > _SHARD_SECONDS:
                        writer.flush()
                        saved = time.monotonic()
                    observer.item(item.name)
        write_skipped(out, skipped)
    if not before and not added:
        raise LuminaError(
            f"None of the {len(skipped)} items could be encoded, see {out / SKIPPED}; the first: "
            f"{next(iter(skipped.values()))}",
            field="data",
            kind="file",
        )
    return EncodeResult(len(before) + added, added, skipped)


class _Motion:
    """Motion scores of clips: those of the source if it has any (their scale may differ), or else measured here."""

    def __init__(self, items: Sequence[RawItem], observer: EncodeObserver):
        clips = [item for item in items if item.kind == VIDEO]
        without = sum(item.motion is None for item in clips)
        self._flow: Flow | None = dis_flow() if clips and without == len(clips) else None
        if clips and self._flow is None and without:
            observer.note(
                f"{without} of {len(clips)} clips have no motion score and are trained without one, because scores "
                "measured here may have a different scale."
            )

    def score(self, item: RawItem, seconds: float) -> float | None:
        """Score of a clip; None if it is unknown or the clip is too short."""
        if self._flow is None or seconds <= _FLOW_INTERVAL:
            return item.motion
        return file_motion_score(item.path, self._flow, seconds=seconds)


def _add(writer: ShardWriter, decoded: _Decoded, vae: VideoVAE, settings: EncodeSettings) -> None:
    item, is_clip = decoded.item, decoded.item.kind == VIDEO
    latents = vae.encode(decoded.frames)[0]
    if not latents.isfinite().all():
        dtype = str(vae.dtype).removeprefix("torch.")
        raise LuminaError(
            f"{item.path} encodes to NaN or infinite latents in {dtype}; use bf16 or fp32.",
            field="dtype",
            kind="numerics",
        )
    kept = latents[:, 1:] if is_clip else latents
    writer.add(item.name, item.kind, item.caption, decoded.motion, kept, settings.fps if is_clip else None)


def _read(item: RawItem, settings: EncodeSettings, motion: _Motion) -> _Decoded:
    if item.kind != VIDEO:
        return _Decoded(item, read_still(item.path, settings), None)
    frames = read_clip(item.path, settings)
    return _Decoded(item, frames, motion.score(item, len(frames) / settings.fps))


def _read_ahead(
    items: Sequence[RawItem], settings: EncodeSettings, motion: _Motion
) -> Generator[tuple[RawItem, Callable[[], _Decoded]], None, None]:
    """(item, function that returns or raises what reading it did) of each; the next item is read in the background."""
    if not items:
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(_read, items[0], settings, motion)
        for number, item in enumerate(items):
            current = upcoming
            if number + 1 < len(items):
                upcoming = pool.submit(_read, items[number + 1], settings, motion)
            yield item, current.result
