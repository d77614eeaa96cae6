"""Frames out of video files: any container, frame rate and rotation, one decoded frame at a time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import LuminaError

if TYPE_CHECKING:
    import av

CURE = "give a video with at least one whole picture, such as an .mp4"
_BT709, _UNKNOWN, _BT601, _FULL_RANGE = 1, 2, 5, 2
_HD = 720
"""Lines from which video that does not name its colours means BT.709, as players have it."""
_SEEK = 2.0
"""Seconds of decoding from which jumping ahead is worth it."""


@dataclass(frozen=True)
class VideoFile:
    """What a file says of itself: mean frames per second, length in seconds, size in pixels as it is shown."""

    fps: float
    seconds: float
    width: int
    height: int


def probe(path: str | Path) -> VideoFile:
    """Decodes the first picture and reads the headers; a file without a stated length is walked through, not decoded.

    Raises LuminaError that names the file where there is no such file, no video in it, or no picture to decode.
    """
    with _opened(path) as (container, stream):
        picture = _pixels(_first(container.decode(stream), path))
        fps = _rate(stream)
        seconds = _stated_seconds(container, stream)
    return VideoFile(fps, seconds or _walked_seconds(path, fps), width=picture.shape[1], height=picture.shape[0])


def rate_varies(path: str | Path, start: float = 0.0, seconds: float = math.inf) -> bool:
    """Whether frames of a part are shown for times that differ by more than a quarter; nothing is decoded.

    Raises LuminaError for a file that cannot be read.
    """
    with _opened(path) as (container, stream):
        stamps = [packet.pts * stream.time_base for packet in container.demux(stream) if packet.pts is not None]
    first = min(stamps, default=0)
    shown = sorted(stamp for stamp in stamps if start <= stamp - first <= start + seconds)
    gaps = [after - before for before, after in pairwise(shown)]
    # Containers round: what differs by two ticks or so is even all the same.
    return bool(gaps) and max(gaps) - min(gaps) > max(max(gaps) / 4, 2 * stream.time_base)


def frames_at(path: str | Path, times: Sequence[float]) -> Iterator[torch.Tensor]:
    """The frame nearest to each time, one after the other: (H, W, 3) uint8, RGB, turned as it is shown.

    times: seconds after the first frame, rising. The video ends half a frame interval after its last frame: times
    later than that give nothing, so fewer frames may come than were asked for. Decodes from the keyframe before the
    first time to the last time, and holds two frames.
    Raises LuminaError for times that are negative, not finite or do not rise, and for a file that cannot be read.
    """
    if not all(math.isfinite(time) and time >= 0 for time in times) or any(b < a for a, b in pairwise(times)):
        raise LuminaError(f"times are {list(times)[:10]}, expected seconds from 0 in rising order.")
    if len(times):
        with _opened(path) as (container, stream):
            yield from map(_pixels, _nearest(_timed(container, stream, times[0], path), times))


def read_frames(path: str | Path, times: Sequence[float]) -> torch.Tensor:
    """The frames nearest to all of the times, (len(times), H, W, 3) float32 in 0..1; see `frames_at`.

    Raises LuminaError where the video ends before the last time.
    """
    if not len(times):
        raise LuminaError(f"No times are given to read frames of {Path(path).name} at; give at least one.")
    frames = list(frames_at(path, times))
    if len(frames) < len(times):
        raise LuminaError(
            f"{path} ends before {times[len(frames)]:g} s, where a frame is asked for; ask for earlier times."
        )
    return torch.stack(frames).float() / 255


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The open file and its first video stream; what goes wrong while reading is told as a LuminaError."""
    import av

    source = Path(path)
    if not source.is_file():
        raise LuminaError(f"Video {source} does not exist or is a folder; {CURE}.")
    try:
        with av.open(source) as container:
            # A stream of a codec that FFmpeg does not know has no context.
            stream = next((s for s in container.streams.video if s.codec_context is not None), None)
            if stream is None:
                raise LuminaError(f"{source} has no video stream, only {_kinds(container)}; {CURE}.")
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LuminaError(f"{source} cannot be read as a video ({reason}); {CURE}.") from error


def _kinds(container: av.container.InputContainer) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"


def _first(decoding: Iterator[av.VideoFrame], path: str | Path) -> av.VideoFrame:
    frame = next(decoding, None)
    if frame is None:
        raise LuminaError(f"{path} holds no picture that can be decoded; {CURE}.")
    return frame


def _rate(stream: av.VideoStream) -> float:
    """Mean frames per second; where a stream states no usable rate, the one that FFmpeg guesses, or 25 as it does."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and math.isfinite(float(rate)) and rate > 0:
            return float(rate)
    return 25.0


def _stated_seconds(container, stream) -> float:
    """The length that the headers state, 0 where they are silent."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return max(0.0, (container.duration or 0) / 1_000_000)


def _walked_seconds(path: str | Path, fps: float) -> float:
    """The length by the timestamps of the packets, or by their number."""
    with _opened(path) as (container, stream):
        packets = [packet.pts for packet in container.demux(stream) if packet.size]
        stamps = [pts * stream.time_base for pts in packets if pts is not None]
    return float(max(stamps) - min(stamps)) + 1 / fps if len(stamps) > 1 else max(len(packets), 1) / fps


def _timed(container, stream, start: float, path: str | Path) -> Iterator[tuple[float, av.VideoFrame]]:
    """(seconds after the first frame, frame) in the order shown, from a frame at or before `start` or the first."""
    # One generator all along: decoder threads run ahead, and a second one would miss what the first holds.
    decoding = container.decode(stream)
    first = _first(decoding, path)
    if first.time is None:  # such as raw H.264: count
        fps = _rate(stream)
        yield from ((number / fps, frame) for number, frame in enumerate(_readable(chain([first], decoding))))
        return
    if start > _SEEK:
        # One second early, so that the frame before `start` is there to compare with.
        container.seek(int((first.time + start - 1) / first.time_base), stream=stream)
        decoding = container.decode(stream)
        arrived = next(decoding, None)
        if arrived is not None and arrived.time is not None and first.time <= arrived.time <= first.time + start:
            decoding = chain([arrived], decoding)
        else:  # no index to jump by: decode it all
            container.seek(int(first.time / first.time_base), stream=stream)
            decoding = container.decode(stream)
    else:
        decoding = chain([first], decoding)
    last = -math.inf
    for frame in _readable(decoding):
        # A damaged index can send a frame twice or without its time.
        if frame.time is not None and frame.time > last:
            last = frame.time
            yield frame.time - first.time, frame


def _readable(decoding: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames up to where a file is damaged.

    With one thread the decoder reports what is cut off there, with several it may pass it over.
    """
    import av

    with contextlib.suppress(av.error.InvalidDataError):
        yield from decoding


def _nearest(timed: Iterator[tuple[float, av.VideoFrame]], times: Sequence[float]) -> Iterator[av.VideoFrame]:
    """The frame nearest to each of the rising times, until they or the frames end."""
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
    # One frame alone is shown for no time that can be told.
    while before is not None and time is not None and time < before[0] + (interval or 0) / 2:
        yield before[1]
        time = next(wanted, None)


def _pixels(frame: av.VideoFrame) -> torch.Tensor:
    """(H, W, 3) uint8, RGB, turned as the file asks."""
    colours = int(frame.colorspace)
    if colours in (0, _UNKNOWN):
        colours = _BT709 if frame.height >= _HD else _BT601
    # Range and matrix are spelt out: older PyAV reads all video as BT.601 unless source and target differ.
    picture = frame.reformat(
        format="rgb24",
        src_colorspace=colours,
        dst_colorspace=_BT601,
        src_color_range=int(frame.color_range),
        dst_color_range=_FULL_RANGE,
    )
    pixels = torch.from_numpy(picture.to_ndarray())
    return torch.rot90(pixels, round(frame.rotation / 90)).contiguous() if frame.rotation else pixels
