"""Encodes videos with audio: codec and encoders run once over every clip, so that training needs neither.

Sources: paper appendix D (clips of 8 s, AV-Align score); AudioLDM (preparation of the waveform).
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
from ...audio.waveform import is_silent, prepare
from ...errors import LuminaError
from ...evaluation.av_align import av_align_file
from ...media.reader import probe
from ...shapes.audio_rates import LATENT_SECONDS, SAMPLE_RATE
from ..encoding import (
    SKIPPED,
    EncodeObserver,
    EncodeResult,
    as_lumina_error,
    check_settings,
    note_changed_captions,
    weights_digest,
    write_skipped,
)
from ..shards import VIDEO, read_index
from ..sources import RawItem, RawSource
from .recipe import SHORTEST_CROP
from .shards import AudioEntry, AudioItem, AudioShardWriter

# Length of a clip in seconds.
MIN_SECONDS, MAX_SECONDS = SHORTEST_CROP * LATENT_SECONDS, 60.0
# Files that are shorter than a clip are trimmed to a multiple of this many seconds, which limits the number of shapes.
_STEP = MIN_SECONDS / 2
# Tolerance in seconds: a clip that is this much shorter is padded with its last frame and silence.
_TOLERANCE = 0.2
# A shard is written after this many seconds, which bounds the work that is lost if the process is killed.
_FLUSH_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class AudioEncodeSettings:
    """How files are split into clips.

    Args:
        seconds: length of a clip, 0.64 to 60. A longer file is split into several clips and its remainder is dropped; a
            shorter file makes one shorter clip.
    """

    seconds: float = 8.0

    def __post_init__(self) -> None:
        if not MIN_SECONDS <= self.seconds <= MAX_SECONDS:
            raise LuminaError(
                f"seconds is {self.seconds:g}, expected a clip length of {MIN_SECONDS:g} to {MAX_SECONDS:g} s.",
                field="seconds",
                kind="value",
            )


@dataclass(frozen=True)
class ClipSpan:
    """A clip within a file: its name in the data set, and its start and length in seconds."""

    name: str
    start: float
    seconds: float


def encode_audio(
    source: RawSource,
    codec: AudioCodec,
    encoder: FeatureEncoder,
    out: Path,
    settings: AudioEncodeSettings,
    observer: EncodeObserver | None = None,
) -> EncodeResult:
    """Encode the clips of a source that are not yet in ``out``, in the order of the source.

    An interrupted run is resumed by the next one. Files and clips that cannot be used, such as silent ones, are skipped
    and listed in skipped.jsonl.

    Args:
        source: files and captions.
        codec: encodes the audio.
        encoder: of frames and captions.
        out: folder of the encoded data set.
        settings: length of the clips.
        observer: receives the progress.

    Returns:
        Number of clips, and the skipped files and clips.

    Raises:
        LuminaError: ``out`` was encoded with other settings or cannot be written, or no clip can be used. What was
            encoded before is kept.
    """
    observer = observer or EncodeObserver()
    skipped, added = dict(source.faults), 0
    with as_lumina_error(out):
        digests = {"codec": codec, "clip": encoder.clip.model, "sync": encoder.sync}
        about = asdict(settings) | {name: weights_digest(module) for name, module in digests.items()}
        check_settings(out, about, {"codec": "codec", "clip": "CLIP", "sync": "sync encoder"})
        with AudioShardWriter(out) as writer:
            before, saved = set(writer.done), time.monotonic()
            _note_captions(source, out, observer, bool(before))
            observer.begin(len(source.items), 0)
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
                observer.item(item.name)
        write_skipped(out, skipped)
    if not before and not added:
        raise LuminaError(
            f"No clip of the {len(source.items)} files could be encoded, see {out / SKIPPED}; the first: "
            f"{next(iter(skipped.values()))}",
            field="data",
            kind="file",
        )
    return EncodeResult(len(before) + added, added, skipped)


def split_into_clips(item: RawItem, seconds: float, settings: AudioEncodeSettings) -> list[ClipSpan]:
    """The clips of a file that lasts ``seconds``. Raises LuminaError if it is too short."""
    count = int((seconds + _TOLERANCE) / settings.seconds)
    if count:
        starts = [number * settings.seconds for number in range(count)]
        return [ClipSpan(f"{item.name}@{start:g}", start, settings.seconds) for start in starts]
    whole = int(seconds / _STEP + 1e-6) * _STEP
    if whole < MIN_SECONDS - 1e-6:
        raise LuminaError(
            f"{item.path} has {seconds:.2f} s of video with audio, expected {MIN_SECONDS:g} s or more; remove it.",
            field="data",
            kind="mismatch",
        )
    return [ClipSpan(f"{item.name}@0", 0.0, whole)]


def _clips(
    item: RawItem, codec: AudioCodec, encoder: FeatureEncoder, settings: AudioEncodeSettings, before: set[str]
) -> Iterator[tuple[str, AudioItem | LuminaError]]:
    """(name, encoded clip or error) of each clip of a file that is not in ``before``."""
    try:
        if item.kind != VIDEO:
            raise LuminaError(
                f"{item.path} is an image, expected a video with audio; remove it.", field="data", kind="mismatch"
            )
        length = probe(item.path).seconds
        if all(span.name in before for span in split_into_clips(item, length, settings)):
            return
        waveform = read_audio(item.path)
        spans = split_into_clips(item, min(length, waveform.shape[-1] / SAMPLE_RATE), settings)
        text, mask = encoder.text([item.caption])
    except LuminaError as error:
        yield item.name, error
        return
    for span in spans:
        if span.name in before:
            continue
        try:
            yield span.name, _encoded(item, span, waveform, text[0][mask[0]], codec, encoder)
        except LuminaError as error:
            yield span.name, error


def _encoded(
    item: RawItem,
    span: ClipSpan,
    waveform: torch.Tensor,
    text: torch.Tensor,
    codec: AudioCodec,
    encoder: FeatureEncoder,
) -> AudioItem:
    first, count = round(span.start * SAMPLE_RATE), round(span.seconds * SAMPLE_RATE)
    audio = waveform[:, first : first + count]
    audio = torch.nn.functional.pad(audio, (0, count - audio.shape[1]))
    if is_silent(audio):
        raise LuminaError(
            f"{item.path} is silent from {span.start:g} s to {span.start + span.seconds:g} s; remove that part.",
            field="data",
            kind="mismatch",
        )
    features = encoder.file(item.path, span.start, span.seconds)
    mean, std = codec.posterior(prepare(audio).to(next(codec.parameters()).device))
    found = AudioItem(
        name=span.name,
        caption=item.caption,
        seconds=span.seconds,
        mean=mean[0],
        std=std[0],
        visual=features.visual[0],
        sync=features.sync[0],
        text=text,
        av_align=av_align_file(item.path, audio, span.start, span.seconds),
    )
    for name in ("mean", "std", "visual", "sync", "text"):
        if not getattr(found, name).isfinite().all():
            raise LuminaError(
                f"{item.path} encodes to NaN or infinite values of {name}; remove the file or use float32.",
                field="dtype",
                kind="numerics",
            )
    return found


def _note_captions(source: RawSource, out: Path, observer: EncodeObserver, any_before: bool) -> None:
    """Notify the user of changed captions; an entry's name is that of its file plus ``@`` and the start of the clip."""
    if any_before:
        entries = [replace(entry, name=entry.name.rpartition("@")[0]) for entry in read_index(out, AudioEntry)]
        note_changed_captions({item.name: item.caption for item in source.items}, entries, observer)
