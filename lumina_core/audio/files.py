"""Sound in files: reading it, writing it, and putting it into a video without touching the pictures."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import LuminaError
from ..media.writer import check_target
from ..runtime.atomic import atomic_write
from .mel import SAMPLE_RATE

if TYPE_CHECKING:
    import av

BIT_RATE = 128_000
_CONTAINER = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""Entries that every mp4 writes anew."""


def has_audio(path: str | Path) -> bool:
    """Whether a file holds a sound stream. Raises LuminaError for one that cannot be read."""
    with _opened(path) as container:
        return bool(container.streams.audio)


def read_audio(path: str | Path) -> torch.Tensor:
    """The first sound of a file, mono at 16 kHz: (1, N) float32, beginning when the file does.

    Raises LuminaError for a file that has none or cannot be read.
    """
    import av

    with _opened(path) as container:
        if not container.streams.audio:
            raise LuminaError(f"{path} has no sound; give a video or an audio file that has.")
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
        pieces, late = [], None
        for frame in _readable(container.decode(stream)):
            late = frame.time if late is None else late
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    if not pieces:
        raise LuminaError(f"The sound of {path} cannot be decoded; convert the file first.")
    waveform = torch.cat([torch.from_numpy(piece.copy()) for piece in pieces])[None]
    start = round((late or 0.0) * SAMPLE_RATE)
    # A sound that begins behind the pictures stays in time with them; what lies before them is not shown either.
    return torch.nn.functional.pad(waveform, (start, 0)) if start > 0 else waveform[:, -start:]


def write_wav(path: str | Path, waveform: torch.Tensor, rate: int = SAMPLE_RATE) -> Path:
    """Write a waveform (1, N) as 16-bit .wav; an existing file is replaced. Raises LuminaError."""
    target = check_target(path, ".wav")
    with atomic_write(target) as part, wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(_to_shorts(waveform).tobytes())
    return target


def check_mux(video: str | Path) -> None:
    """Raise LuminaError where `mux` could not keep a video's pictures; to be called before long work."""
    import av

    with _opened(video) as source, BytesIO() as nowhere:
        if not source.streams.video:
            raise LuminaError(f"{video} has no pictures; give a video.")
        try:
            with av.open(nowhere, "w", format="mp4") as trial:
                trial.add_stream_from_template(source.streams.video[0])
                trial.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            raise _unfit(video, error) from error


def mux(
    video: str | Path,
    waveform: torch.Tensor,
    rate: int,
    out: str | Path,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write an mp4 with a video's pictures as they are encoded, and a waveform (1, N) as its only sound (AAC).

    The file's metadata is kept, ``metadata`` added. ``out`` may be ``video``. Raises LuminaError.
    """
    import av

    target = check_target(out, ".mp4")
    with _opened(video) as source, atomic_write(target) as part:
        if not source.streams.video:
            raise LuminaError(f"{video} has no pictures; give a video.")
        options = {"movflags": "faststart+use_metadata_tags"}
        try:
            with av.open(part, "w", format="mp4", options=options) as result:
                kept = {name: text for name, text in source.metadata.items() if name not in _CONTAINER}
                result.metadata.update({**kept, **(metadata or {})})
                _copy(source, result, waveform, rate)
        except (av.FFmpegError, ValueError) as error:
            raise _unfit(video, error) from error
    return target


def _unfit(video: str | Path, error: Exception) -> LuminaError:
    return LuminaError(f"The pictures of {video} do not fit into an mp4 ({error}); convert the video to H.264 first.")


def _copy(
    source: av.container.InputContainer, result: av.container.OutputContainer, waveform: torch.Tensor, rate: int
) -> None:
    pictures = source.streams.video[0]
    copied = result.add_stream_from_template(pictures)
    sound = result.add_stream("aac", rate=rate, layout="mono")
    sound.bit_rate = BIT_RATE
    # The muxer sorts by time only what it holds: a second of sound goes in behind each second of pictures.
    pieces = _encoded(sound, waveform, rate)
    piece = next(pieces, None)
    for packet in source.demux(pictures):
        if packet.dts is None:
            continue
        now = float(packet.dts * packet.time_base)
        while piece is not None and float(piece.pts * piece.time_base) <= now:
            result.mux(piece)
            piece = next(pieces, None)
        packet.stream = copied
        result.mux(packet)
    while piece is not None:
        result.mux(piece)
        piece = next(pieces, None)


def _encoded(stream: av.AudioStream, waveform: torch.Tensor, rate: int) -> Iterator[av.Packet]:
    import av

    samples = waveform.detach().cpu().float().clamp(-1, 1).contiguous().numpy()
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.rate = frame.sample_rate = rate
    frame.pts = 0
    yield from stream.encode(frame)
    yield from stream.encode(None)


def _to_shorts(waveform: torch.Tensor):
    return (waveform.detach().cpu().float().flatten().clamp(-1, 1) * 32767).round().numpy().astype("<i2")


@contextmanager
def _opened(path: str | Path) -> Iterator[av.container.InputContainer]:
    import av

    if not Path(path).is_file():
        raise LuminaError(f"{path} does not exist; give a video or an audio file.")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise LuminaError(f"{path} cannot be read ({error}); give a video or an audio file.") from error
    with container:
        yield container


def _readable(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """The frames up to where a file is damaged."""
    import av

    try:
        yield from frames
    except av.FFmpegError:
        return
