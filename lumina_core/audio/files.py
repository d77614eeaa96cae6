"""Reads and writes audio files, and muxes audio into a video without re-encoding its frames."""

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
from ..shapes.audio_rates import SAMPLE_RATE

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer

BIT_RATE = 128_000  # bits per second of the AAC stream
# Metadata entries that the mp4 muxer writes itself.
_CONTAINER = ("major_brand", "minor_version", "compatible_brands", "encoder")


def has_audio(path: str | Path) -> bool:
    """Whether a file has an audio stream. Raises LuminaError if the file cannot be read."""
    with _opened(path) as container:
        return bool(container.streams.audio)


def read_audio(path: str | Path) -> torch.Tensor:
    """The first audio stream of a file as a mono waveform (1, N) float32 at 16 kHz, aligned with the file's start.

    Raises LuminaError if the file has no audio or cannot be read.
    """
    import av

    with _opened(path) as container:
        if not container.streams.audio:
            raise LuminaError(
                f"{path} has no audio; give a video with audio or an audio file.", field="audio", kind="missing"
            )
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
        pieces, late = [], None
        for frame in _readable(container.decode(stream)):
            late = frame.time if late is None else late
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    if not pieces:
        raise LuminaError(f"The audio of {path} cannot be decoded; convert the file first.", field="audio", kind="file")
    waveform = torch.cat([torch.from_numpy(piece.copy()) for piece in pieces])[None]
    start = round((late or 0.0) * SAMPLE_RATE)
    # Audio that starts after the video stays in sync with it; audio before the first frame is cut.
    return torch.nn.functional.pad(waveform, (start, 0)) if start > 0 else waveform[:, -start:]


def write_wav(path: str | Path, waveform: torch.Tensor, rate: int = SAMPLE_RATE) -> Path:
    """Write a waveform (1, N) in -1..1 as a 16-bit .wav file; an existing file is replaced.

    Raises LuminaError if the name does not end in .wav or its folder does not exist.
    """
    target = check_target(path, ".wav")
    with atomic_write(target) as part, wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(_to_shorts(waveform).tobytes())
    return target


def check_mux(video: str | Path) -> None:
    """Raise LuminaError if ``mux`` cannot copy the video stream of ``video``; call this before long work."""
    import av

    with _opened(video) as source, BytesIO() as nowhere:
        if not source.streams.video:
            raise LuminaError(f"{video} has no video stream; give a video.", field="video", kind="file")
        try:
            with av.open(nowhere, "w", format="mp4") as trial:
                trial.add_stream_from_template(source.streams.video[0])
                trial.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            raise _not_copyable(video, error) from error


def mux(
    video: str | Path,
    waveform: torch.Tensor,
    rate: int,
    out: str | Path,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write an mp4 with a copy of a video's encoded stream and a waveform as its only audio stream (AAC).

    Args:
        video: the source of the frames. Its metadata is kept.
        waveform: (1, N) in -1..1.
        rate: sample rate of the waveform in hertz.
        out: the .mp4 to write; may be ``video``.
        metadata: entries to add.

    Returns:
        The written file.

    Raises:
        LuminaError: a file cannot be read or written, or the video stream does not fit into an mp4.
    """
    import av

    target = check_target(out, ".mp4")
    with _opened(video) as source, atomic_write(target) as part:
        if not source.streams.video:
            raise LuminaError(f"{video} has no video stream; give a video.", field="video", kind="file")
        options = {"movflags": "faststart+use_metadata_tags"}
        try:
            with av.open(part, "w", format="mp4", options=options) as result:
                kept = {name: text for name, text in source.metadata.items() if name not in _CONTAINER}
                result.metadata.update({**kept, **(metadata or {})})
                _copy(source, result, waveform, rate)
        except (av.FFmpegError, ValueError) as error:
            raise _not_copyable(video, error) from error
    return target


def _not_copyable(video: str | Path, error: Exception) -> LuminaError:
    return LuminaError(
        f"The video stream of {video} cannot be copied into an mp4 ({error}); convert the video to H.264 first.",
        field="video",
        kind="file",
    )


def _copy(source: InputContainer, result: OutputContainer, waveform: torch.Tensor, rate: int) -> None:
    video = source.streams.video[0]
    copied = result.add_stream_from_template(video)
    audio = result.add_stream("aac", rate=rate, layout="mono")
    audio.bit_rate = BIT_RATE
    # The muxer sorts only the packets that it buffers, so both streams are interleaved by time here.
    packets = _encoded(audio, waveform, rate)
    pending = next(packets, None)
    for packet in source.demux(video):
        if packet.dts is None:
            continue
        now = float(packet.dts * (packet.time_base or 0))
        while pending is not None and float((pending.pts or 0) * (pending.time_base or 0)) <= now:
            result.mux(pending)
            pending = next(packets, None)
        packet.stream = copied
        result.mux(packet)
    while pending is not None:
        result.mux(pending)
        pending = next(packets, None)


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
def _opened(path: str | Path) -> Iterator[InputContainer]:
    import av

    if not Path(path).is_file():
        raise LuminaError(f"{path} does not exist; give a video or an audio file.", field="audio", kind="missing")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise LuminaError(
            f"{path} cannot be read ({error}); give a video or an audio file.", field="audio", kind="file"
        ) from error
    with container:
        yield container


def _readable(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """The frames before the first damaged one."""
    import av

    try:
        yield from frames
    except av.FFmpegError:
        return
