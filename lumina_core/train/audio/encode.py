"""Videos with sound into an encoded set: codec and encoders run once over every clip, so that training needs neither.

Source: paper appendix D (clips of 8 s, AV-Align score), AudioLDM (how a waveform is prepared).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ...audio.codec_loader import AudioCodec
from ...audio.features import FeatureEncoder
from ...audio.files import read_audio
from ...audio.mel import SAMPLE_RATE
from ...audio.waveform import is_silent, prepare
from ...errors import LuminaError
from ...evaluation.av_align import av_align_file
from ...media.reader import probe
from ..encoding import (
    SKIPPED,
    EncodeResult,
    EncodeWatcher,
    as_lumina_error,
    check_settings,
    digest_of,
    note_new_captions,
    write_skipped,
)
from ..shards import VIDEO, read_index
from ..sources import RawItem, RawSource
from .recipe import SHORTEST_CROP
from .shards import AudioEntry, AudioItem, AudioShardWriter

_ROW_SECONDS = 0.04
SHORTEST, LONGEST = SHORTEST_CROP * _ROW_SECONDS, 60.0
"""Seconds of a clip."""
_STEP = SHORTEST / 2
"""Seconds; shorter files are cut to a multiple of it, so that not every one has a shape of its own."""
_ROUNDING = 0.2
"""Seconds that a clip may lack: its last frame stays and its sound ends in silence."""
_FLUSH_SECONDS = 300.0
"""What a kill may cost at most."""


@dataclass(frozen=True, kw_only=True)
class AudioEncodeSettings:
    """How files become clips.

    Args:
        seconds: of a clip. A longer file gives several, one after another, its rest is left out; a shorter one gives
            one, as long as it is.
    """

    seconds: float = 8.0

    def __post_init__(self) -> None:
        if not SHORTEST <= self.seconds <= LONGEST:
            raise LuminaError(
                f"seconds is {self.seconds:g}, expected {SHORTEST:g} to {LONGEST:g}: the length of a clip."
            )


@dataclass(frozen=True)
class _Part:
    """A clip of a file: its name in the set, where it begins and how long it is, in seconds."""

    name: str
    start: float
    seconds: float


def encode_audio(
    source: RawSource,
    codec: AudioCodec,
    encoder: FeatureEncoder,
    out: Path,
    settings: AudioEncodeSettings,
    watcher: EncodeWatcher | None = None,
) -> EncodeResult:
    """Encode what is not yet in the folder ``out``, in the order of the source.

    A run that ended early is continued by the next. Files and clips that cannot be used, silent ones among them, are
    skipped and listed in skipped.jsonl. Raises LuminaError when ``out`` was encoded otherwise, cannot be written, or no
    clip at all can be used; what was encoded until then stays.
    """
    watcher = watcher or EncodeWatcher()
    skipped, added = dict(source.faults), 0
    with as_lumina_error(out):
        digests = {"codec": codec, "clip": encoder.clip.model, "sync": encoder.sync}
        about = asdict(settings) | {name: digest_of(module) for name, module in digests.items()}
        check_settings(out, about, {"codec": "codec", "clip": "CLIP", "sync": "sync encoder"})
        with AudioShardWriter(out) as writer:
            before, saved = set(writer.done), time.monotonic()
            _note_captions(source, out, watcher, bool(before))
            watcher.begin(len(source.items), 0)
            for item in source.items:
                for name, found in _clips(item, codec, encoder, settings, before):
                    if isinstance(found, LuminaError):
                        skipped[name] = str(found)
                    else:
                        writer.add(found)
                        added += 1
                    if time.monotonic() - saved > _FLUSH_SECONDS:
                        writer.flush()
                        saved = time.monotonic()
                watcher.item(item.name)
        write_skipped(out, skipped)
    if not before and not added:
        raise LuminaError(
            f"No clip of the {len(source.items)} files could be encoded, see {out / SKIPPED}; the first: "
            f"{next(iter(skipped.values()))}"
        )
    return EncodeResult(len(before) + added, added, skipped)


def parts_of(item: RawItem, seconds: float, settings: AudioEncodeSettings) -> list[_Part]:
    """The clips of a file of a length. Raises LuminaError for one that is too short."""
    count = int((seconds + _ROUNDING) / settings.seconds)
    if count:
        starts = [number * settings.seconds for number in range(count)]
        return [_Part(f"{item.name}@{start:g}", start, settings.seconds) for start in starts]
    whole = int(seconds / _STEP + 1e-6) * _STEP
    if whole < SHORTEST - 1e-6:
        raise LuminaError(
            f"{item.path} has {seconds:.2f} s of picture and sound, expected {SHORTEST:g} or more; leave it out."
        )
    return [_Part(f"{item.name}@0", 0.0, whole)]


def _clips(
    item: RawItem, codec: AudioCodec, encoder: FeatureEncoder, settings: AudioEncodeSettings, before: set[str]
) -> Iterator[tuple[str, AudioItem | LuminaError]]:
    """Name of each clip of a file that is not done before, and the clip or why there is none."""
    try:
        if item.kind != VIDEO:
            raise LuminaError(f"{item.path} is a picture, expected a video with sound; leave it out.")
        length = probe(item.path).seconds
        if all(part.name in before for part in parts_of(item, length, settings)):
            return
        waveform = read_audio(item.path)
        parts = parts_of(item, min(length, waveform.shape[-1] / SAMPLE_RATE), settings)
        text, mask = encoder.text([item.caption])
    except LuminaError as error:
        yield item.name, error
        return
    for part in parts:
        if part.name in before:
            continue
        try:
            yield part.name, _encoded(item, part, waveform, text[0][mask[0]], codec, encoder)
        except LuminaError as error:
            yield part.name, error


def _encoded(
    item: RawItem, part: _Part, waveform: torch.Tensor, text: torch.Tensor, codec: AudioCodec, encoder: FeatureEncoder
) -> AudioItem:
    first, count = round(part.start * SAMPLE_RATE), round(part.seconds * SAMPLE_RATE)
    sound = waveform[:, first : first + count]
    sound = torch.nn.functional.pad(sound, (0, count - sound.shape[1]))
    if is_silent(sound):
        raise LuminaError(f"{item.path} is silent from {part.start:g} s on for {part.seconds:g} s; it is left out.")
    features = encoder.file(item.path, part.start, part.seconds)
    mean, std = codec.posterior(prepare(sound).to(next(codec.parameters()).device))
    found = AudioItem(
        name=part.name,
        caption=item.caption,
        seconds=part.seconds,
        mean=mean[0],
        std=std[0],
        visual=features.visual[0],
        sync=features.sync[0],
        text=text,
        av_align=av_align_file(item.path, sound, part.start, part.seconds),
    )
    for name in ("mean", "std", "visual", "sync", "text"):
        if not getattr(found, name).isfinite().all():
            raise LuminaError(f"{item.path} encodes to a {name} that is not finite; leave it out or use float32.")
    return found


def _note_captions(source: RawSource, out: Path, watcher: EncodeWatcher, any_before: bool) -> None:
    """Tell of captions that have changed; an entry's name is its file's with the clip's beginning behind it."""
    if any_before:
        entries = [replace(entry, name=entry.name.rpartition("@")[0]) for entry in read_index(out, AudioEntry)]
        note_new_captions({item.name: item.caption for item in source.items}, entries, watcher)
