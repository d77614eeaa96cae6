"""Frames out of video files: any container, frame rate and rotation, one decoded frame at a time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import LuminaError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

FIX = "give a video with at least one complete frame, such as an .mp4"
# Values of FFmpeg's AVColorSpace and AVColorRange.
_BT709, _UNKNOWN, _BT601, _FULL_RANGE = 1, 2, 5, 2
# Like players, assume BT.709 from this height on where a video does not state its color space.
_HD = 720
# Seek instead of decoding when this many seconds can be skipped.
_SEEK = 2.0


@dataclass(frozen=True)
class VideoFile:
    """Mean frames per second, length in seconds, and displayed size in pixels of a video file."""

    fps: float
    seconds: float
    width: int
    height: int


def probe(path: str | Path) -> VideoFile:
    """Read the headers and decode the first frame. Without a stated length, all packets are read but not decoded.

    Raises:
        LuminaError: there is no such file, no video stream in it, or no frame that can be decoded.
    """
    with _opened(path) as (container, stream):
        image = _pixels(_first(container.decode(stream), path))
        fps = _rate(stream)
        seconds = _stated_seconds(container, stream)
    return VideoFile(fps, seconds or _walked_seconds(path, fps), width=image.shape[1], height=image.shape[0])


def rate_varies(path: str | Path, start: float = 0.0, seconds: float = math.inf) -> bool:
    """Whether frame durations within a section differ by more than a quarter. Nothing is decoded.

    Args:
        path: the video.
        start, seconds: begin and length of the section.

    Raises:
        LuminaError: the file cannot be read.
    """
    with _opened(path) as (container, stream):
        tick = _tick(stream.time_base)
        stamps = [packet.pts * tick for packet in container.demux(stream) if packet.pts is not None]
    first = min(stamps, default=0)
    shown = sorted(stamp for stamp in stamps if start <= stamp - first <= start + seconds)
    gaps = [after - before for before, after in pairwise(shown)]
    # Containers round timestamps, so a difference of about two ticks means nothing.
    return bool(gaps) and max(gaps) - min(gaps) > max(max(gaps) / 4, 2 * tick)


def frames_at(path: str | Path, times: Sequence[float]) -> Iterator[torch.Tensor]:
    """Yield the frame nearest to each time: (H, W, 3) uint8, RGB, rotated as displayed.

    Decodes from the keyframe before the first time to the last time, and holds two frames in memory.

    Args:
        path: the video.
        times: seconds after the first frame, ascending. The video ends half a frame interval after its last frame.
            Later times yield nothing, so there may be fewer frames than times.

    Raises:
        LuminaError: times are negative, not finite or not ascending, or the file cannot be read.
    """
    if not all(math.isfinite(time) and time >= 0 for time in times) or any(b < a for a, b in pairwise(times)):
        raise LuminaError(
            f"times are {list(times)[:10]}; give seconds from 0 in ascending order.", field="times", kind="value"
        )
    if len(times):
        with _opened(path) as (container, stream):
            yield from map(_pixels, _nearest(_timed(container, stream, times[0], path), times))


def all_frames(path: str | Path) -> Iterator[torch.Tensor]:
    """Every frame of a video in order, as stored: (H, W, 3) uint8, RGB, rotated as displayed; one is held at a time.

    Raises:
        LuminaError: the file cannot be read, or has no frame that can be decoded.
    """
    with _opened(path) as (container, stream):
        decoding = container.decode(stream)
        yield from map(_pixels, _readable(chain([_first(decoding, path)], decoding)))


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open file and its first video stream. Reading errors become LuminaErrors."""
    import av
    from av.error import FFmpegError

    source = Path(path)
    if not source.is_file():
        raise LuminaError(f"Video {source} does not exist or is a folder; {FIX}.", field="video", kind="missing")
    try:
        with av.open(source) as container:
            # A stream with a codec unknown to FFmpeg has no context.
            stream = next((s for s in container.streams.video if s.codec_context is not None), None)
            if stream is None:
                raise LuminaError(
                    f"{source} has no video stream, only {_kinds(container)}; {FIX}.", field="video", kind="file"
                )
            stream.thread_type = "AUTO"
            yield container, stream
    except (FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LuminaError(
            f"{source} cannot be read as a video ({reason}); {FIX}.", field="video", kind="file"
        ) from error


def _kinds(container: InputContainer) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"


def _first(decoding: Iterator[VideoFrame], path: str | Path) -> VideoFrame:
    frame = next(decoding, None)
    if frame is None:
        raise LuminaError(f"{path} contains no frame that can be decoded; {FIX}.", field="video", kind="file")
    return frame


def _rate(stream: VideoStream) -> float:
    """Mean frames per second; without a usable one, FFmpeg's guess, or its default of 25."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and math.isfinite(float(rate)) and rate > 0:
            return float(rate)
    return 25.0


def _tick(time_base: Fraction | None) -> Fraction:
    """Seconds per timestamp unit; 1 where a stream states none, as raw streams do."""
    return time_base or Fraction(1)


def _stated_seconds(container, stream) -> float:
    """The length stated in the headers, 0 if none is."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return max(0.0, (container.duration or 0) / 1_000_000)


def _walked_seconds(path: str | Path, fps: float) -> float:
    """The length from the timestamps of the packets, or from their number."""
    with _opened(path) as (container, stream):
        packets = [packet.pts for packet in container.demux(stream) if packet.size]
        stamps = [pts * _tick(stream.time_base) for pts in packets if pts is not None]
    return float(max(stamps) - min(stamps)) + 1 / fps if len(stamps) > 1 else max(len(packets), 1) / fps


def _timed(container, stream, start: float, path: str | Path) -> Iterator[tuple[float, VideoFrame]]:
    """(seconds after the first frame, frame) in display order, from the first frame or one at or before ``start``."""
    # Keep one generator: decoder threads run ahead, and a second generator would miss frames that the first holds.
    decoding = container.decode(stream)
    first = _first(decoding, path)
    if first.time is None:  # raw H.264 and the like: count frames
        fps = _rate(stream)
        yield from ((number / fps, frame) for number, frame in enumerate(_readable(chain([first], decoding))))
        return
    if start > _SEEK:
        # One second early, so that the frame before `start` is available for comparison.
        container.seek(int((first.time + start - 1) / _tick(first.time_base)), stream=stream)
        decoding = container.decode(stream)
        arrived = next(decoding, None)
        if arrived is not None and arrived.time is not None and first.time <= arrived.time <= first.time + start:
            decoding = chain([arrived], decoding)
        else:  # no index to seek with: decode everything
            container.seek(int(first.time / _tick(first.time_base)), stream=stream)
            decoding = container.decode(stream)
    else:
        decoding = chain([first], decoding)
    last = -math.inf
    for frame in _readable(decoding):
        # A damaged index can yield a frame twice or without a time.
        if frame.time is not None and frame.time > last:
            last = frame.time
            yield frame.time - first.time, frame


def _readable(decoding: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """The frames up to the point where a file is damaged.

    A single-threaded decoder reports the damage; a multi-threaded one may skip it.
    """
    from av.error import InvalidDataError

    with contextlib.suppress(InvalidDataError):
        yield from decoding


def _nearest(timed: Iterator[tuple[float, VideoFrame]], times: Sequence[float]) -> Iterator[VideoFrame]:
    """The frame nearest to each ascending time, until the times or the frames end."""
    wanted = iter(times)
    time = next(wanted)
    before = interval = None
    for at, frame in timed:
        if before is not None:
            interval = at - before[0]
        while time <= at:
            yield frame if before is None or at - time <= time - before[0] else before[1]
            time = next(wanted, None)
            if time is None:
                return
        before = at, frame
    # A single frame has no known duration.
    while before is not None and time is not None and time < before[0] + (interval or 0) / 2:
        yield before[1]
        time = next(wanted, None)


def _pixels(frame: VideoFrame) -> torch.Tensor:
    """(H, W, 3) uint8, RGB, rotated as the file states."""
    space = int(frame.colorspace)
    if space in (0, _UNKNOWN):
        space = _BT709 if frame.height >= _HD else _BT601
    # Range and matrix are explicit, because older PyAV reads all video as BT.601 unless source and target differ.
    image = frame.reformat(
        format="rgb24",
        src_colorspace=space,
        dst_colorspace=_BT601,
        src_color_range=int(frame.color_range),
        dst_color_range=_FULL_RANGE,
    )
    pixels = torch.from_numpy(image.to_ndarray())
    return torch.rot90(pixels, round(frame.rotation / 90)).contiguous() if frame.rotation else pixels
